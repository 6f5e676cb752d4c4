import * as ort from 'onnxruntime-node';
import type { Feeds, Tensor } from '../../src/data/types.ts';
import { edit } from '../../src/graph/edit.ts';
import { encodeModel, type Model } from '../../src/graph/model.ts';
import { ValueInfoCodec } from '../../src/graph/proto.ts';
import { initializers, isOp, producers } from '../../src/graph/query.ts';
import type { Shapes } from '../../src/graph/shapes.ts';
import { dimsOf, tensorData, typeOf } from '../../src/graph/tensor.ts';
import type { AnyFold } from '../../src/numerics/fold.ts';
import type { PassContext } from '../../src/passes/pass.ts';

type Level = NonNullable<ort.InferenceSession.SessionOptions['graphOptimizationLevel']>;

/** A float32 tensor as feeds hold it. */
export const floats = (data: Float32Array, dims: readonly number[]): Tensor => ({ type: 'float32', dims, data });

/** Runs a model in bare onnxruntime on qtool's own tensors, outputs likewise. */
export async function runModel(model: Model, feeds: Feeds, level: Level = 'all'): Promise<Feeds> {
  const session = await open(model, level);
  try {
    return await run(session, feeds);
  } finally {
    await session.release();
  }
}

/**
 * What a pass may ask of the runtime, on bare onnxruntime, for tests. `calibration` holds batches (`samples` counts along
 * axis 0 of the first feed and takes whole batches); everything else can be overridden. Without `reference` reading it throws.
 */
export function testContext(
  given: Partial<PassContext> & { readonly calibration?: readonly Feeds[] } = {},
): PassContext {
  const { calibration = [], ...overrides } = given;
  const sessions = new WeakMap<Model, Promise<ort.InferenceSession>>();
  const batches = (samples = Infinity): Feeds[] => {
    let seen = 0;
    return calibration.filter((feeds) => {
      const take = seen < samples;
      seen += Object.values(feeds)[0]?.dims[0] ?? 1;
      return take;
    });
  };
  async function* capture(model: Model, values: readonly string[], samples?: number): AsyncGenerator<Feeds> {
    const session = await open(exposed(model, values), 'all');
    const constants = initializers(model.graph);
    try {
      for (const feeds of batches(samples)) {
        const results = await run(session, feeds);
        yield Object.fromEntries(
          values.map((name) => {
            const constant = constants.get(name);
            const found =
              results[name] ?? feeds[name] ?? (constant && { ...described(constant), data: tensorData(constant) });
            if (!found) throw new Error(`the model has no value "${name}"`);
            return [name, found];
          }),
        );
      }
    } finally {
      await session.release();
    }
  }
  const context: PassContext = {
    plan: new Map(),
    clock: { epoch: 0, start: 0, end: 1, frequency: 1 },
    get reference(): Model {
      throw new Error('this test gave testContext() no reference model');
    },
    twin: undefined,
    memory: new Map(),
    signal: new AbortController().signal,
    shapes: (model, feeds) => shapesOf(model, feeds ?? calibration[0]),
    async collect<R>(model: Model, wanted: ReadonlyMap<string, readonly AnyFold<Tensor, R>[]>, samples?: number) {
      const states = new Map([...wanted].map(([name, folds]) => [name, folds.map((fold) => fold.start())]));
      for await (const feeds of capture(model, [...wanted.keys()], samples))
        for (const [name, folds] of wanted) {
          const state = states.get(name) as unknown[];
          folds.forEach((fold, i) => (state[i] = fold.add(state[i], feeds[name] as Tensor)));
        }
      return new Map(
        [...wanted].map(([name, folds]) => [name, folds.map((fold, i) => fold.finish(states.get(name)?.[i]))]),
      );
    },
    capture,
    async compute(model, feeds) {
      const session = sessions.get(model) ?? open(model, 'all');
      sessions.set(model, session);
      return run(await session, feeds);
    },
    measure: async () => ({ metrics: [] }),
    progress: () => undefined,
  };
  // A spread would read `reference`, so the overrides are laid over by definition.
  return Object.defineProperties(context, {
    ...Object.getOwnPropertyDescriptors(overrides),
    batches: { value: calibration, enumerable: true },
  });
}

function open(model: Model, level: Level): Promise<ort.InferenceSession> {
  return ort.InferenceSession.create(encodeModel(model), {
    graphOptimizationLevel: level,
    intraOpNumThreads: 1,
    // Errors are thrown; printing them too would only clutter the output of tests that want them.
    logSeverityLevel: 4,
  });
}

async function run(session: ort.InferenceSession, feeds: Feeds): Promise<Feeds> {
  const inputs = session.inputNames.flatMap((name) => {
    const given = feeds[name];
    return given ? [[name, new ort.Tensor(given.type as ort.Tensor.Type, given.data, given.dims)] as const] : [];
  });
  const results = await session.run(Object.fromEntries(inputs));
  return Object.fromEntries(
    Object.entries(results).map(([name, { type, dims, data }]) => [name, { type: type, dims, data: data }]),
  );
}

/** The model with these values as outputs too; inputs and constants are left out, for they cannot be. */
function exposed(model: Model, values: readonly string[]): Model {
  const made = producers(model.graph);
  const outputs = new Set(model.graph.output.map((o) => o.name));
  const extra = values.filter((name) => made.has(name) && !outputs.has(name));
  if (extra.length === 0) return model;
  return edit(model, (draft) => {
    for (const name of extra) draft.addOutput(ValueInfoCodec.create({ name }));
  });
}

async function shapesOf(model: Model, feeds: Feeds | undefined): Promise<Shapes> {
  if (!feeds) throw new Error('this test gave testContext() no calibration batch, which shapes() runs');
  const values = model.graph.node
    .filter((n) => !isOp(n, 'SequenceConstruct', 'SplitToSequence', 'Optional'))
    .flatMap((n) => n.output);
  const named = values.filter((name) => name !== '');
  // Unoptimized, so that what the optimizer would fold away has a shape too.
  const results = await runModel(exposed(model, named), feeds, 'disabled');
  return new Map([
    ...model.graph.initializer.map((t) => [t.name, described(t)] as const),
    ...Object.entries({ ...feeds, ...results }).map(([name, { type, dims }]) => [name, { type, dims }] as const),
  ]);
}

function described(tensor: Model['graph']['initializer'][number]) {
  return { type: typeOf(tensor), dims: dimsOf(tensor) };
}
