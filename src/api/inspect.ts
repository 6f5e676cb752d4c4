import { cost } from '../analyze/cost.ts';
import { batches } from '../data/batch.ts';
import { parseDataConfig, type DataConfig } from '../data/config.ts';
import { batchAxes, fixedBatch, withSizes, type AxisSizes } from '../data/layout.ts';
import { openData } from '../data/open.ts';
import type { Batch } from '../data/types.ts';
import { modelBytes } from '../graph/file.ts';
import type { Model } from '../graph/model.ts';
import { isStored } from '../graph/bytes.ts';
import type { OpenShapes } from '../graph/shapes.ts';
import { toNumber } from '../graph/proto.ts';
import { describeValue, modelInputs } from '../graph/query.ts';
import type { InspectReport } from '../report/inspect.ts';
import { declaredShapes, inferShapes } from '../runtime/shapes.ts';
import { given } from '../util/must.ts';
import { QtoolError } from '../util/error.ts';
import { configOf, inSteps, modulesOf, preprocessing, type DataGiven, type PreprocessingOptions } from './data.ts';
import { openModel, type ModelGiven } from './given.ts';

export interface InspectOptions extends PreprocessingOptions {
  readonly model: ModelGiven;
  /** The sample that shapes are seen on; without it a random one is made up. */
  readonly data?: DataGiven | undefined;
  /** The folder that relative paths of a data config start from. */
  readonly dataRoot?: string | undefined;
  /** Counts the zeros of large models too, of which all weights are read for it. Default: of files up to 64 MB. */
  readonly zeros?: boolean | undefined;
  /** Runs a module that gives the sample. Default false. */
  readonly allowModules?: boolean | undefined;
}

/**
 * Says what is in a model, as `qtool inspect` does. Shapes are those of one sample, so that multiply-accumulates are those of one: seen in a
 * run on the data, inferred without any.
 * @throws QtoolError.
 */
export async function inspect(options: InspectOptions): Promise<InspectReport> {
  const model = await openModel(options.model);
  const { shapes, told } = await shapesOf(model, options);
  const large = model.graph.initializer.some(({ raw_data }) => isStored(raw_data));
  const counted = options.zeros ?? !large;
  const { layers, params, macs, zeros, notes } = cost(model, shapes, counted);
  return {
    format: 1,
    path: model.path ?? '',
    bytes: modelBytes(model),
    ir: toNumber(model.proto.ir_version),
    producer: [model.proto.producer_name, model.proto.producer_version].filter((text) => text !== '').join(' '),
    opsets: Object.fromEntries(model.proto.opset_import.map((entry) => [entry.domain, toNumber(entry.version)])),
    inputs: modelInputs(model),
    outputs: model.graph.output.map(describeValue),
    params,
    macs,
    ...(zeros !== undefined && { zeros }),
    layers,
    ops: countOps(model),
    notes: [
      ...told,
      ...(counted ? [] : ['zeros were not counted, for which all weights are read: --zeros does']),
      ...notes,
    ],
  };
}

/** What a free axis other than the batch is taken as where there is no data that shows it. */
const guessedAxis = 16;

/** Free axes of the inputs beyond the batch, by name. */
function freeAxes(model: Model, sizes: AxisSizes | undefined): string[] {
  const inputs = withSizes(modelInputs(model), sizes);
  const free = inputs.flatMap(({ dims = [] }) => dims.slice(1).filter((dim) => typeof dim === 'string'));
  const batch = batchAxes(inputs);
  return [...new Set(free)].filter((axis) => !batch.has(axis));
}

/** The free axes beyond the batch with what they are taken as: for random data. */
export const guessedDims = (model: Model, sizes?: AxisSizes): Record<string, number> =>
  Object.fromEntries(freeAxes(model, sizes).map((axis) => [axis, guessedAxis]));

/** A sample of the data, or a made-up one where none is given. */
export async function oneSample(model: Model, options: Omit<InspectOptions, 'model'>): Promise<Batch> {
  const inputs = modelInputs(model);
  const made = (): DataConfig =>
    parseDataConfig(JSON.stringify({ data: { kind: 'random', dims: guessedDims(model, options.dims) } }), 'random');
  const source = options.data === undefined ? made() : configOf(options.data);
  const opened = await openData(source, inputs, {
    outputs: model.graph.output.map(({ name }) => name),
    ...{ root: options.dataRoot, part: 'validation', modules: modulesOf(options), ...preprocessing(options) },
    // Only shapes are looked at: the values of the input are all the same here.
    decide: ({ recipes: [plainest] }) => Promise.resolve({ recipe: given(plainest, 'a recipe').name, notes: [] }),
  });
  const data = inSteps(opened, model);
  for await (const batch of batches(data.validation, {
    batchSize: 1,
    fixedBatch: fixedBatch(withSizes(inputs, options.dims)),
    limit: 1,
  }))
    return batch;
  throw new QtoolError('data', 'there is no sample to run the model on', {
    hint: 'the dataset is empty',
  });
}

/** Shapes of one sample: of the data, or of a made-up one, which is not run. */
async function shapesOf(model: Model, options: InspectOptions): Promise<{ shapes: OpenShapes; told: string[] }> {
  if (options.data !== undefined)
    return { shapes: await inferShapes(model, await oneSample(model, options)), told: [] };
  const inputs = withSizes(modelInputs(model), options.dims);
  const batch = batchAxes(inputs);
  const size = (dim: number | string, i: number): number =>
    typeof dim === 'number' ? dim : i === 0 || batch.has(dim) ? 1 : guessedAxis;
  const made = inputs.flatMap(({ name, dims }) => (dims ? [[name, dims.map(size)] as const] : []));
  const free = freeAxes(model, options.dims);
  try {
    const told = free.map(
      (axis) =>
        `the free axis "${axis}" was taken as ${guessedAxis}; --dims ${axis}=<size> says its real size, --data shows it`,
    );
    return { shapes: await declaredShapes(model, new Map(made)), told };
  } catch (error) {
    if (!(error instanceof QtoolError && error.code === 'runtime') || free.length === 0) throw error;
    const told = [`free axes stay open: ${guessedAxis} in their place does not fit (${error.message})`];
    return { shapes: await declaredShapes(model, new Map()), told };
  }
}

function countOps(model: Model): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const node of model.graph.node) counts[node.op_type] = (counts[node.op_type] ?? 0) + 1;
  return counts;
}
