import type * as Ort from 'onnxruntime-node';
import type { Target } from '../autodiff/rule.ts';
import type { Feeds, Tensor } from '../data/types.ts';
import { dtypes, type DType } from '../graph/dtype.ts';
import type { Model } from '../graph/model.ts';
import { modelInputs, type ModelInput } from '../graph/query.ts';
import { QtoolError } from '../util/error.ts';
import { explainLoad, explainRun } from './explain.ts';
import { onnxruntime } from './onnxruntime.ts';
import { withoutWeights, withWeights, type Artifact } from './weights.ts';

/** How a session runs. What is not given is chosen for measuring many models in one process. */
export interface SessionOptions {
  /** Threads of one operator; default: one a physical core, onnxruntime's own choice. */
  readonly threads?: number | undefined;
  /** Default `all`, what a user of the model gets. */
  readonly optimization?: 'disabled' | 'basic' | 'extended' | 'layout' | 'all';
  /** Writes the graph that onnxruntime made of the model to this file. */
  readonly optimizedModelPath?: string;
  /** Models with more bytes of weights are loaded from files; default 1 GiB. */
  readonly fileAbove?: number;
  /** The session is only looked at and never run: large constants of large models (or with more bytes than that) are left out. */
  readonly lookedAt?: true | number;
  /** Weights are laid out for speed, as for a user of the model; those of large models otherwise stay mapped as they lie in the file. */
  readonly packed?: boolean;
  /** Whose kernels run it; what WebGPU has none for runs on the CPU. Default: the CPU's. */
  readonly device?: Target | undefined;
  /** Further session configuration entries under onnxruntime's names (`session.qdqisint8allowed`: `1`). */
  readonly config?: Readonly<Record<string, string>>;
}

/** An input or output; a free dimension that the file names nothing is empty. */
type ValueFacts = ModelInput;

/** A model loaded in onnxruntime. `close()` frees its memory; it may be called twice. */
export interface Session {
  readonly inputs: readonly ValueFacts[];
  /** Tensor outputs only: sequences, maps and optionals are computed but cannot be read from JavaScript. */
  readonly outputs: readonly ValueFacts[];
  /**
   * Runs once. `outputs` names those wanted (default: all tensor outputs). With `into`, results of an earlier run of the same
   * shapes, the results are written over those: nothing is left for the garbage collector.
   */
  run(feeds: Feeds, outputs?: readonly string[], into?: Feeds): Promise<Feeds>;
  close(): Promise<void>;
}

/**
 * Loads a model (or the file at a path) in onnxruntime. Idle threads do not spin: with spinning, two sessions in one process
 * slow each other down twofold.
 *
 * @throws QtoolError `runtime`: one line saying what onnxruntime refuses and how to mend it.
 */
export async function openSession(model: Model | string, options: SessionOptions = {}): Promise<Session> {
  const ort = await onnxruntime();
  const at = typeof model === 'string' ? model : model.path;
  const loaded = await load(ort, model, options, at);
  const { session, dispose } = loaded;
  const declared = typeof model === 'string' ? [] : modelInputs(model);
  const shapeless = new Set(declared.filter(({ dims }) => dims === undefined).map(({ name }) => name));
  const inputs = session.inputMetadata.map((facts): ValueFacts => {
    // onnxruntime gives the empty shape of a scalar for a shape that is not declared.
    if (facts.isTensor)
      return shapeless.has(facts.name) ? { ...valueFacts(facts), dims: undefined } : valueFacts(facts);
    throw new QtoolError('runtime', `input "${facts.name}" is not a tensor`, { at, hint: 'qtool feeds tensors only' });
  });
  const tensors = session.outputMetadata.filter((facts) => facts.isTensor);
  const outputs = tensors.map(valueFacts);
  const everything = outputs.map((facts) => facts.name);

  return {
    inputs,
    outputs,
    async run(feeds, wanted = everything, into = undefined) {
      checkFeeds(inputs, feeds);
      if (wanted.length === 0) return {};
      const packed = [...inputs, ...outputs.filter(({ name }) => wanted.includes(name))].find(({ type }) =>
        packs(type),
      );
      if (packed) throw noExchange(packed, at);
      const missing = wanted.find((name) => !everything.includes(name));
      if (missing !== undefined) throw new QtoolError('runtime', `the model has no tensor output "${missing}"`, { at });
      const given: Record<string, Ort.Tensor> = {};
      for (const [name, tensor] of Object.entries(feeds)) given[name] = toOrt(ort, tensor);
      let results: Ort.InferenceSession.OnnxValueMapType;
      try {
        results = await session.run(given, into === undefined ? wanted : places(ort, wanted, into));
      } catch (error) {
        throw explainRun(error, at, options.device);
      }
      const out: Record<string, Tensor> = {};
      for (const name of wanted) out[name] = fromOrt(results[name]!);
      return out;
    },
    close: dispose,
  };
}

/** Runs `use` with a session that is closed afterwards, whatever happens. */
export async function withSession<T>(
  model: Model | string,
  options: SessionOptions,
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const session = await openSession(model, options);
  try {
    return await use(session);
  } finally {
    await session.close();
  }
}

function sessionOptions(options: SessionOptions): Ort.InferenceSession.SessionOptions {
  const { threads, optimization, optimizedModelPath, device = 'cpu', config } = options;
  return {
    executionProviders: [device],
    graphOptimizationLevel: optimization ?? 'all',
    // What goes wrong is thrown; onnxruntime's own log lines would spoil the terminal.
    logSeverityLevel: 4,
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    ...(optimizedModelPath === undefined ? {} : { optimizedModelFilePath: optimizedModelPath }),
    extra: {
      'session.intra_op.allow_spinning': '0',
      'session.inter_op.allow_spinning': '0',
      ...config,
    },
  };
}

interface Loaded {
  readonly session: Ort.InferenceSession;
  readonly dispose: () => Promise<void>;
}

async function load(
  ort: typeof Ort,
  model: Model | string,
  asked: SessionOptions,
  at: string | undefined,
): Promise<Loaded> {
  const options = sessionOptions(asked);
  let artifact: Artifact | undefined;
  let session: Ort.InferenceSession | undefined;
  const dispose = async (): Promise<void> => {
    const [open, files] = [session, artifact];
    session = artifact = undefined;
    await open?.release();
    await files?.remove();
  };
  try {
    if (typeof model === 'string') session = await create(ort, model, options, at);
    else {
      const { lookedAt: looked } = asked;
      artifact = await (looked === undefined ? withWeights(model, asked) : withoutWeights(model, looked === true ? undefined : looked)); // prettier-ignore
      session = await create(ort, artifact.source, { ...options, extra: { ...options.extra, ...artifact.config } }, at);
    }
    return { session, dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

async function create(
  ort: typeof Ort,
  source: string | Uint8Array,
  options: Ort.InferenceSession.SessionOptions,
  at: string | undefined,
): Promise<Ort.InferenceSession> {
  try {
    return await ort.InferenceSession.create(source as string, options);
  } catch (error) {
    throw explainLoad(error, at);
  }
}

/** Where results are to be written. A result without a place is given one by onnxruntime. */
function places(ort: typeof Ort, wanted: readonly string[], into: Feeds): Record<string, Ort.Tensor | null> {
  const places: Record<string, Ort.Tensor | null> = {};
  for (const name of wanted) {
    const tensor = into[name];
    places[name] = tensor === undefined || tensor.type === 'string' ? null : toOrt(ort, tensor);
  }
  return places;
}

function valueFacts(facts: Ort.InferenceSession.ValueMetadata & { readonly isTensor: true }): ValueFacts {
  return { name: facts.name, type: facts.type, dims: facts.shape };
}

/** Types of several elements a byte: onnxruntime-node 1.30 takes their count for bytes, and may end the process. */
const packs = (type: DType): boolean => dtypes[type].bits > 0 && dtypes[type].bits < 8;

const noExchange = ({ name, type }: ValueFacts, at: string | undefined): QtoolError =>
  new QtoolError('runtime', `"${name}" has the type ${type}, which cannot be exchanged with JavaScript`, {
    at,
    hint: 'add a Cast to float32 at that end of the model',
  });

function checkFeeds(inputs: readonly ValueFacts[], feeds: Feeds): void {
  const extra = Object.keys(feeds).find((name) => !inputs.some((facts) => facts.name === name));
  if (extra !== undefined) {
    const names = inputs.map((facts) => `"${facts.name}"`).join(', ');
    throw new QtoolError('data', `the model has no input "${extra}"`, { at: extra, hint: `its inputs are ${names}` });
  }
  for (const { name, type, dims } of inputs) {
    const tensor = feeds[name];
    if (tensor === undefined) throw new QtoolError('data', `no data for the model's input "${name}"`, { at: name });
    // onnxruntime 1.30 ends the process where a convolution or LSTM meets a scalar in place of a tensor whose rank it did not know.
    const fits =
      dims === undefined
        ? tensor.dims.length > 0
        : tensor.dims.length === dims.length &&
          dims.every((dim, i) => typeof dim === 'string' || dim === tensor.dims[i]);
    if (tensor.type === type && fits) continue;
    const wants = `${type}${dims === undefined ? ', of a shape that the model does not declare but no scalar' : `[${dims.map((dim) => (dim === '' ? '?' : dim)).join(', ')}]`}`;
    const hint = 'change the transforms or the element type in the data config';
    const is = `${tensor.type}[${tensor.dims.join(', ')}]`;
    throw new QtoolError('data', `input "${name}" wants ${wants}, the data is ${is}`, { at: name, hint });
  }
}

/** Float16Array is missing up to Node 23; onnxruntime-common then takes and gives Uint16Array, as qtool does everywhere. */
type HalfConstructor = new (buffer: ArrayBufferLike, offset: number, length: number) => ArrayBufferView;
const Half = (globalThis as { Float16Array?: HalfConstructor }).Float16Array;

function toOrt(ort: typeof Ort, tensor: Tensor): Ort.Tensor {
  let data: unknown = tensor.data;
  if (tensor.type === 'float16' && Half !== undefined && data instanceof Uint16Array) {
    data = new Half(data.buffer, data.byteOffset, data.length);
  }
  return new ort.Tensor(tensor.type as 'float32', data as Float32Array, tensor.dims);
}

function fromOrt(tensor: Ort.Tensor): Tensor {
  let data: unknown = tensor.data;
  if (tensor.type === 'float16' && !(data instanceof Uint16Array)) {
    const view = data as ArrayBufferView;
    data = new Uint16Array(view.buffer, view.byteOffset, view.byteLength / 2);
  }
  return { type: tensor.type, dims: tensor.dims, data: data as Tensor['data'] };
}
