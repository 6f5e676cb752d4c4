import { cost } from '../../analyze/cost.ts';
import { batches } from '../../data/batch.ts';
import { parseDataConfig, type DataConfig } from '../../data/config.ts';
import { batchAxes, fixedBatch } from '../../data/layout.ts';
import { openData } from '../../data/open.ts';
import type { Batch } from '../../data/types.ts';
import { modelBytes } from '../../graph/file.ts';
import type { Model } from '../../graph/model.ts';
import { toNumber } from '../../graph/proto.ts';
import { describeValue, modelInputs } from '../../graph/query.ts';
import { inspectText, type InspectReport } from '../../report/inspect.ts';
import { inferShapes } from '../../runtime/shapes.ts';
import { given } from '../../util/must.ts';
import { QtoolError } from '../../util/error.ts';
import type { Call } from '../call.ts';
import { exit } from '../errors.ts';
import { preprocessing, type PreprocessingOptions } from '../data_options.ts';
import { openModel } from '../load.ts';

export interface InspectOptions extends PreprocessingOptions {
  readonly data?: string;
  readonly dataRoot?: string;
}

/** `qtool inspect`: what is in a model. Shapes are seen on one sample, so that multiply-accumulates are those of one. */
export async function inspect(path: string, options: InspectOptions, call: Call): Promise<number> {
  const model = await openModel(path);
  const shapes = await inferShapes(model, await oneSample(model, options));
  const { layers, params, macs, zeros, notes } = cost(model, shapes);
  const report: InspectReport = {
    format: 1,
    path,
    bytes: modelBytes(model),
    ir: toNumber(model.proto.ir_version),
    producer: [model.proto.producer_name, model.proto.producer_version].filter((text) => text !== '').join(' '),
    opsets: Object.fromEntries(model.proto.opset_import.map((entry) => [entry.domain, toNumber(entry.version)])),
    inputs: modelInputs(model),
    outputs: model.graph.output.map(describeValue),
    params,
    macs,
    zeros,
    layers,
    ops: countOps(model),
    notes: [...guesses(model, options), ...notes],
  };
  call.answer(report, () => inspectText(report, call.paint, call.width));
  return exit.ok;
}

/** What a free axis other than the batch is taken as where there is no data that shows it. */
const guessedAxis = 16;

/** Free axes of the inputs beyond the batch, by name. */
function freeAxes(model: Model): string[] {
  const inputs = modelInputs(model);
  const free = inputs.flatMap(({ dims = [] }) => dims.slice(1).filter((dim) => typeof dim === 'string'));
  const batch = batchAxes(inputs);
  return [...new Set(free)].filter((axis) => !batch.has(axis));
}

/** A sample of the data, or a made-up one where none is given. */
export async function oneSample(model: Model, options: InspectOptions): Promise<Batch> {
  const inputs = modelInputs(model);
  const dims = Object.fromEntries(freeAxes(model).map((axis) => [axis, guessedAxis]));
  const made = (): DataConfig => parseDataConfig(JSON.stringify({ data: { kind: 'random', dims } }), 'random');
  const source = options.data ?? made();
  const data = await openData(source, inputs, {
    ...{ root: options.dataRoot, part: 'validation', ...preprocessing(options) },
    // Only shapes are looked at: the values of the input are all the same here.
    decide: ({ recipes: [plainest] }) => Promise.resolve({ recipe: given(plainest, 'a recipe').name, notes: [] }),
  });
  for await (const batch of batches(data.validation, { batchSize: 1, fixedBatch: fixedBatch(inputs), limit: 1 }))
    return batch;
  throw new QtoolError('data', 'there is no sample to run the model on', {
    at: options.data,
    hint: 'the dataset is empty',
  });
}

function guesses(model: Model, options: InspectOptions): string[] {
  if (options.data !== undefined) return [];
  return freeAxes(model).map(
    (axis) => `the free axis "${axis}" was taken as ${guessedAxis}; --data shows its real size`,
  );
}

function countOps(model: Model): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const node of model.graph.node) counts[node.op_type] = (counts[node.op_type] ?? 0) + 1;
  return counts;
}
