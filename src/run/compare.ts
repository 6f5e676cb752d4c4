import { selectionNotes } from '../graph/selections.ts';
import { coverage } from '../analyze/coverage.ts';
import { withDecodedWeights } from '../analyze/decoded.ts';
import { layerPairs } from '../analyze/layer_error.ts';
import { slowRemark } from '../analyze/speed.ts';
import { zeroShare } from '../analyze/zero_share.ts';
import { fixedBatch } from '../data/layout.ts';
import type { DatasetInfo, RunData } from '../data/types.ts';
import { modelBytes } from '../graph/file.ts';
import type { Model } from '../graph/model.ts';
import { productOf } from '../graph/ops.ts';
import { describeValue, layerName, modelInputs, type ModelInput } from '../graph/query.ts';
import { openMetrics } from '../metrics/index.ts';
import { largestDifference } from '../metrics/largest.ts';
import type { Metric, MetricResult } from '../metrics/metric.ts';
import { isFloat } from '../metrics/select.ts';
import { prepare } from '../passes/fold/prepare.ts';
import { latency } from '../runtime/time.ts';
import { measuredAtChance } from './verdict.ts';
import { QtoolError } from '../util/error.ts';
import { brokenAlone } from './broken.ts';
import { relationOf } from './related.ts';
import { noStage, openInstruments, type Instruments } from './context.ts';
import { located } from './diagnosis.ts';
import type { RunEvent } from './event.ts';
import { fusedText, withFused } from './fused.ts';
import { layerReports, withOwnErrors } from './layers.ts';
import { levelWarning, optimizationLevels, selfWarning } from './levels.ts';
import type { LayerReport, Levels, Measurement } from './report.ts';

/** What `compare` found out: plain data. Drops and distances are those of `model` from `reference`. */
export interface CompareReport {
  readonly format: 1;
  readonly model: { readonly path: string; readonly bytes: number };
  readonly reference: { readonly path: string; readonly bytes: number };
  readonly data: DatasetInfo;
  readonly measurement: Measurement;
  /** Layers of the model, in its order: the kernel, the SQNR of all that differs up to there, the layer's own error. */
  readonly layers: readonly LayerReport[];
  /** The first layer whose output differs by more than rounding in float32. */
  readonly first: LayerReport | undefined;
  /** Where the error enters, and why, in words. */
  readonly where: readonly string[];
  readonly levels: Levels | undefined;
  /** What must be known before the result is used. */
  readonly warnings: readonly string[];
  readonly notes: readonly string[];
}

export interface CompareOptions {
  readonly reference: Model;
  readonly model: Model;
  readonly data: RunData;
  readonly batchSize: number | undefined;
  readonly threads: number | undefined;
  readonly latency: boolean;
  readonly signal: AbortSignal;
  readonly log: (event: RunEvent) => void;
}

/** dB above which two outputs differ by no more than the order of float32 sums. */
const rounding = 90;

/**
 * Two models on the same samples: their outputs, the first layer where they part, every layer that both have, size and speed.
 * @throws QtoolError `model` where their inputs or outputs are not the same.
 */
export async function compareModels(options: CompareOptions): Promise<CompareReport> {
  const { reference, model, data, signal, log, threads } = options;
  checkAlike(reference, model);
  const metrics = await metricsOf(reference, data);
  const progress = (done: number, text: string): void => log({ kind: 'progress', done, text });
  // Errors of layers are measured on the samples that the outputs are.
  const tools = openInstruments({
    ...{ reference, data: { ...data, calibration: data.validation }, metrics, signal, threads, progress },
    ...{ batchSize: options.batchSize ?? data.batchSize ?? 32, fixedBatch: fixedBatch(modelInputs(model)) },
  });
  try {
    log({ kind: 'phase', text: 'comparing outputs' });
    const results = await tools.measure(model);
    log({ kind: 'phase', text: 'comparing layers' });
    const base = await baseOf(reference, model, tools);
    const reports = await layerReports(model, base, tools.calibration, signal);
    const place = await located(base, model, tools, { measured: results, metrics, signal });
    const layers = withOwnErrors(reports, place?.errors ?? []);
    const levels = await optimizationLevels(model, base, tools.calibration, signal);
    const differ = levels && (await levelWarning(levels, layers));
    const blamed = differ === undefined ? [] : await levelWarnings(options, layers, tools);
    if (options.latency) log({ kind: 'phase', text: 'measuring latency' });
    const timed = options.latency ? await latency(model, reference, await tools.sample(), { signal }) : [];
    const slow = slowRemark(timed, layers, model, 'the first');
    const compared = layers.some(({ sqnr }) => sqnr !== undefined);
    return {
      ...{ format: 1, model: sizeOf(model), reference: sizeOf(reference), data: data.validation.info },
      measurement: {
        ...{ metrics: results, bytes: modelBytes(model), zeros: zeroShare(await withDecodedWeights(model)) },
        latency: timed,
      },
      layers,
      first: layers.find(({ sqnr }) => sqnr !== undefined && !(sqnr > rounding)),
      where: withFused(place?.sentences ?? [], await fusedText(layers, base, model, tools.calibration, signal)),
      levels,
      warnings: [
        ...(await brokenBoth(options, results, tools)),
        ...strangers(base, model, results),
        ...measuredAtChance(reference, results, ['the first model', 'the second model']),
        ...(differ === undefined || blamed.length > 0 ? blamed : [differ]),
      ],
      notes: [
        ...(slow === undefined ? [] : [slow]),
        ...(compared || layers.length === 0
          ? []
          : ['the models have no layer of the same name: only outputs are compared']),
        ...data.notes,
        ...selectionNotes(reference),
        ...data.validation.info.notes,
      ],
    };
  } finally {
    await tools.close();
  }
}

/** Outputs below so many dB are no quantized ones. */
const unlike = 10;

/** That one of two models whose distance is no number computes none itself. */
async function brokenBoth(
  { reference, model, signal }: CompareOptions,
  results: readonly MetricResult[],
  tools: Instruments,
): Promise<string[]> {
  if (!results.some(({ name, value }) => name === 'sqnr' && Number.isNaN(value))) return [];
  const first = await brokenAlone(reference, "the first model's", tools, signal);
  return first.length > 0 ? first : brokenAlone(model, "the second model's", tools, signal);
}

/** That two models with other outputs have few layers of the same names, or other weights in them: they are hardly two forms of one. */
function strangers(base: Model, model: Model, results: readonly MetricResult[]): string[] {
  const sqnr = results.find(({ name }) => name === 'sqnr')?.value ?? Infinity;
  if (!(sqnr < unlike)) return [];
  const told = (why: string): string[] => [`these are hardly two forms of one model: ${why}, and the outputs are at ${sqnr.toFixed(1)} dB; what is said of layers means little then`]; // prettier-ignore
  const [mine, theirs] = [model, base].map(({ graph }) => new Set(graph.node.filter((node) => productOf(node)).map(layerName))) as [Set<string>, Set<string>]; // prettier-ignore
  const shared = [...mine].filter((name) => theirs.has(name)).length;
  if (shared * 2 < Math.max(mine.size, theirs.size)) return told(`of ${theirs.size} and ${mine.size} layers ${shared} have the same name`); // prettier-ignore
  const { compared, unrelated } = relationOf(base, model);
  return unrelated * 2 > compared ? told(`of ${compared} layers of the same name and shape ${unrelated} have weights that agree no more than by chance`) : []; // prettier-ignore
}

/** Which of the two is another model when it is optimized: that they differ by another amount then does not tell. */
async function levelWarnings(
  { reference, model, signal }: CompareOptions,
  layers: readonly LayerReport[],
  { calibration }: Instruments,
): Promise<string[]> {
  const found = [
    await selfWarning('the first', reference, () => coverage(reference), calibration, signal),
    await selfWarning('the second', model, () => Promise.resolve(layers), calibration, signal),
  ];
  return found.filter((text) => text !== undefined);
}

/** What the data asks for and all that compares outputs; agreement only of what looks like scores of classes. */
async function metricsOf(reference: Model, data: RunData): Promise<Metric[]> {
  const outputs = reference.graph.output.map(describeValue);
  const floats = outputs.some(isFloat);
  const [{ dims = [] } = {}, ...others] = outputs;
  const scores = others.length === 0 && dims.length === 2 && typeof dims[1] === 'number' && dims[1] > 1;
  const asked = [...(scores ? ['agreement'] : []), ...(floats ? ['sqnr', 'cosine'] : [])];
  return [...(await openMetrics(data, outputs, asked)), ...(floats ? [largestDifference()] : [])];
}

/** The reference as it is, or with its BatchNormalizations folded, as quantizers do first: whichever shares more layers with the model; folded where that is equal, since biases and scales are then in the layers. */
async function baseOf(reference: Model, model: Model, tools: Instruments): Promise<Model> {
  const prepared = (await prepare(reference, tools.context(noStage()))).model;
  const shared = (base: Model): number => layerPairs(base, model).length;
  return shared(prepared) >= shared(reference) ? prepared : reference;
}

/** @throws QtoolError `model` with the first input or output that is not the same. */
function checkAlike(reference: Model, model: Model): void {
  checkInputs(reference, model);
  const outputs = model.graph.output.map(({ name }) => name);
  const missing = reference.graph.output.find(({ name }) => !outputs.includes(name));
  if (missing) {
    const message = `the second model has no output "${missing.name}"; it has ${outputs.join(', ')}`;
    throw new QtoolError('model', message, { at: model.path, hint });
  }
}

const hint = 'both must be forms of one model';

/** @throws QtoolError `model` with the first input that is not the same. */
export function checkInputs(reference: Model, model: Model): void {
  const at = model.path;
  const [mine, theirs] = [modelInputs(model), modelInputs(reference)];
  for (const input of [...theirs, ...mine]) {
    const [a, b] = [theirs, mine].map((list) => list.find(({ name }) => name === input.name));
    if (a && b && sameValue(a, b)) continue;
    const told = (one: ModelInput | undefined): string => (one ? valueText(one) : 'none');
    const message = `the inputs differ: "${input.name}" is ${told(a)} in the first model, ${told(b)} in the second`;
    throw new QtoolError('model', message, { at, hint });
  }
}

function sameValue(a: ModelInput, b: ModelInput): boolean {
  if (a.type !== b.type) return false;
  const [first, second] = [a.dims, b.dims];
  if (first === undefined || second === undefined) return true;
  const free = (dim: number | string | undefined): boolean => typeof dim === 'string';
  return first.length === second.length && first.every((dim, i) => free(dim) || free(second[i]) || dim === second[i]);
}

const valueText = ({ type, dims }: ModelInput): string => `${type}[${dims?.join(', ') ?? '?'}]`;

const sizeOf = (model: Model): { path: string; bytes: number } => ({
  path: model.path ?? '',
  bytes: modelBytes(model),
});
