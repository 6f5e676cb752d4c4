import type { Batch, Feeds } from '../data/types.ts';
import { makeNode, makeValue } from '../graph/build.ts';
import { dtypeOf, type DType } from '../graph/dtype.ts';
import { edit } from '../graph/edit.ts';
import type { Model } from '../graph/model.ts';
import { ValueInfoCodec } from '../graph/proto.ts';
import { initializers, modelInputs, producers } from '../graph/query.ts';
import type { OpenShapes, Shapes } from '../graph/shapes.ts';
import { dimsOf, typeOf, weightBytes } from '../graph/tensor.ts';
import { QtoolError } from '../util/error.ts';
import { textOf } from './explain.ts';
import { withSession, type SessionOptions } from './session.ts';

/**
 * Type and concrete shape of every tensor of the main graph on one batch: inputs and initializers from what is at hand, all
 * others from one run in onnxruntime that returns only their shapes (a Shape node after each), so that memory stays that of
 * one run. value_info is not believed: exporters leave stale entries. Sequences, maps and values inside If/Loop bodies have
 * no entry.
 */
export async function inferShapes(model: Model, batch: Batch): Promise<Shapes> {
  const shapes: Found = new Map();
  for (const [name, tensor] of initializers(model.graph))
    shapes.set(name, { type: typeOf(tensor), dims: dimsOf(tensor) });
  for (const [name, tensor] of Object.entries(batch.feeds)) shapes.set(name, { type: tensor.type, dims: tensor.dims });

  const computed = [...producers(model.graph).keys()];
  if (weightBytes(model.graph) > runBelow) {
    const fed = Object.entries(batch.feeds).map(([name, { dims }]) => [name, dims] as const);
    const known = await declaredShapes(model, new Map(fed)).catch((error: unknown) => {
      if (error instanceof QtoolError && error.code === 'runtime') return undefined;
      throw error;
    });
    const open = computed.some((name) => known?.get(name)?.dims.every((dim) => typeof dim === 'number') !== true);
    if (known && !open) return new Map([...(known as Found), ...shapes]);
  }
  // One session is quicker than two, but holds all values of the batch at once.
  const quick = batch.size === 1 ? await shapesOf(model, computed, batch) : undefined;
  const results = quick ?? (await shapesByType(model, computed, batch));
  return new Map([...shapes, ...results]);
}

/** Running a model with more bytes of weights costs more than asking what its shapes must be. */
const runBelow = 2 ** 26;

/**
 * Type and shape of every tensor of the main graph as onnxruntime infers them, without running anything and without the weights.
 * @param inputs shapes of inputs that are more than the model declares of them; what the data decide stays open.
 * @throws QtoolError `runtime` where the model does not load, or not with inputs of these shapes.
 */
export async function declaredShapes(
  model: Model,
  inputs: ReadonlyMap<string, readonly (number | string)[]>,
): Promise<OpenShapes> {
  const given = modelInputs(model).map((input) => ({ ...input, dims: inputs.get(input.name) ?? input.dims }));
  const fixed = edit(model, (draft) => {
    draft.forgetShapes();
    const others = model.graph.input.filter(({ name }) => !given.some((input) => input.name === name));
    draft.setInputs([...given.map(({ name, type, dims }) => makeValue(name, type, dims)), ...others]);
  });
  const stored = [...initializers(model.graph)].map(
    ([name, t]) => [name, { type: typeOf(t), dims: dimsOf(t) }] as const,
  );
  // Constants are folded on the way: a shape may be computed from those of inputs.
  const options: SessionOptions = { optimization: 'basic', lookedAt: true };
  const found = await factsOf(fixed, [...producers(model.graph).keys()], options);
  return new Map([...stored, ...given.map(({ name, type, dims = [] }) => [name, { type, dims }] as const), ...found]);
}

type Found = Map<string, { readonly type: DType; readonly dims: readonly number[] }>;

/** All shapes from one session; undefined where a value's type cannot cross to JavaScript, or it is no tensor. */
async function shapesOf(model: Model, names: readonly string[], batch: Batch): Promise<Found | undefined> {
  const probe = withShapeOutputs(model, names, true);
  try {
    return await withSession(probe.model, { optimization: 'disabled' }, async (session) => {
      const types = new Map(session.outputs.map((facts) => [facts.name, facts.type]));
      // The values are outputs for their types only; asked for is nothing but their shapes.
      const dims = await session.run(batch.feeds, [...probe.outputs.values()]);
      return shapesFrom(types, dims, probe.outputs);
    });
  } catch (error) {
    // A Shape node of a sequence is not valid, and says so when loading.
    if (error instanceof QtoolError && error.code === 'runtime') return undefined;
    throw error;
  }
}

async function shapesByType(model: Model, names: readonly string[], batch: Batch): Promise<Found> {
  const facts = await factsOf(model, names, { optimization: 'disabled', lookedAt: true });
  const types = new Map([...facts].map(([name, { type }]) => [name, type]));
  const probe = withShapeOutputs(model, [...types.keys()], false);
  if (types.size === 0) return new Map();
  return withSession(probe.model, { optimization: 'disabled' }, async (session) =>
    shapesFrom(types, await session.run(batch.feeds), probe.outputs),
  );
}

function shapesFrom(types: ReadonlyMap<string, DType>, dims: Feeds, outputs: ReadonlyMap<string, string>): Found {
  const found: Found = new Map();
  for (const [name, output] of [...outputs].reverse()) {
    const type = types.get(name);
    if (type !== undefined) found.set(name, { type, dims: Array.from(dims[output]?.data as BigInt64Array, Number) });
  }
  return found;
}

/**
 * The element types and shapes that onnxruntime infers for these values; values that are no tensors have no entry. Types that cannot
 * cross to JavaScript (bfloat16, float8, 2 bit) make session creation fail without naming the value, so the list is halved
 * until it is found.
 */
async function factsOf(
  model: Model,
  values: readonly string[],
  options: SessionOptions,
): Promise<Map<string, { type: DType; dims: readonly (number | string)[] }>> {
  if (values.length === 0) return new Map();
  try {
    // By name alone: what the file says of its outputs may be stale.
    const open = edit(model, (draft) => draft.setOutputs(values.map((name) => ValueInfoCodec.create({ name }))));
    return await withSession(open, options, async (session) => {
      return new Map(session.outputs.map(({ name, type, dims = [] }) => [name, { type, dims }]));
    });
  } catch (error) {
    const code = /Unsupported data type: (\d+)/.exec(textOf(error instanceof QtoolError ? error.cause : error))?.[1];
    if (code === undefined) throw error;
    const [only] = values;
    if (values.length === 1 && only !== undefined) {
      const type = dtypeOf(Number(code));
      return new Map(type === undefined ? [] : [[only, { type, dims: [''] }]]);
    }
    const middle = values.length >> 1;
    const left = await factsOf(model, values.slice(0, middle), options);
    return new Map([...left, ...(await factsOf(model, values.slice(middle), options))]);
  }
}

/** The model with the shapes of these values as outputs, and on request the values themselves. */
function withShapeOutputs(
  model: Model,
  names: readonly string[],
  values: boolean,
): { model: Model; outputs: Map<string, string> } {
  const outputs = new Map<string, string>();
  const changed = edit(model, (draft) => {
    // In reverse, so that onnxruntime takes each shape right after its value and frees that (see tap.ts on the order of leaves).
    for (const name of [...names].reverse()) {
      const shape = draft.freshName(`${name}_shape`);
      outputs.set(name, shape);
      draft.addNode(makeNode('Shape', [name], [shape]));
    }
    const known = values ? names.map((name) => ValueInfoCodec.create({ name })) : [];
    draft.setOutputs([...known, ...[...outputs.values()].map((name) => makeValue(name, 'int64'))]);
  });
  return { model: changed, outputs };
}
