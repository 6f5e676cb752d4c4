import { isDepthwise, layers } from '../graph/layer.ts';
import type { Model } from '../graph/model.ts';
import { layerName } from '../graph/query.ts';
import { ownErrors, type OwnError } from '../analyze/own_error.ts';
import type { Metric, MetricResult } from '../metrics/metric.ts';
import { channelStats, type ChannelStats } from '../numerics/channel_stats.ts';
import { sealed } from '../numerics/fold.ts';
import { saturates } from '../runtime/processor.ts';
import type { Schedule } from '../schedule/types.ts';
import { noStage, type Instruments } from './context.ts';
import { curedSchedule, cureLines, curesOf, outputSqnr, tryCures, type Culprit, type TriedCure } from './cures.ts';
import type { Diagnosis } from './report.ts';
import type { State } from './stage.ts';
import { accuraciesAmong } from './verdict.ts';

/** Samples of calibration data that errors are measured and cures are tried on. */
const samples = 32;

/** dB below the middle layer's that make a layer stand out, and the own error above which none is at fault. */
const [apart, fine] = [8, 25];

/** Without labels, outputs below so many dB are taken to have lost something. */
const good = 20;

interface Asked {
  readonly schedule: Schedule;
  readonly scheduleText: string;
  readonly metrics: readonly Metric[];
  readonly signal: AbortSignal;
  readonly progress: (done: number, text: string) => void;
}

/**
 * Where a quantized model's error enters, why, and what mends it. Own errors apart from inherited ones; the first layer, in graph
 * order, whose own error stands out; what its value looks like; then the schedule's quantizer once more with each likely cure, on a
 * few calibration samples.
 */
export async function diagnose(
  { model, twin, measurement, stages }: State,
  tools: Instruments,
  { schedule, scheduleText, metrics, signal, progress }: Asked,
): Promise<{ readonly diagnosis: Diagnosis; readonly errors: readonly OwnError[] } | undefined> {
  if (twin === undefined || twin === model) return undefined;
  progress(0, 'diagnosis: own errors');
  const place = await located(twin, model, tools, { measured: measurement?.metrics ?? [], metrics, signal });
  if (!place) return undefined;
  const { errors, sqnr, found } = place;
  const sentences = [...place.sentences];
  if (!found) return { errors, diagnosis: { sentences } };
  const stage = schedule.stages.find(({ index }) => index === stages.at(-1));
  const bits = (stage?.options as { readonly bits_weights?: unknown } | undefined)?.bits_weights;
  const saturating =
    stage?.pass.name === 'quantize/static' && bits === 8 && found.part === 'weights' && (await saturates());
  if (saturating) sentences.push('this processor has no VNNI, where sums of products of 8-bit weights saturate');
  if (stage?.pass.section !== 'quantizers' || stage.pass.name === 'quantize/float16')
    return { errors, diagnosis: { sentences } };
  const options = { samples, signal, progress };
  const tried = await tryCures(twin, stage, curesOf(stage, found, saturating), tools, options);
  const best = chosen(tried, sqnr);
  sentences.push(triedText(tried, best, sqnr));
  if (!best) return { errors, diagnosis: { sentences } };
  const whole = scheduleText.includes('\n') ? curedSchedule(scheduleText, stage, best.cure) : undefined;
  return { errors, diagnosis: { sentences, yaml: cureLines(stage, best.cure), ...(whole && { schedule: whole }) } };
}

export interface Place {
  readonly errors: readonly OwnError[];
  /** Of the outputs, dB. */
  readonly sqnr: number;
  /** Undefined where all is well. */
  readonly found: Culprit | undefined;
  /** Where the error enters, and why. */
  readonly sentences: readonly string[];
}

/** Where the error of a model enters beside its float twin, in words; undefined where they have no layer that can be compared. */
export async function located(
  twin: Model,
  model: Model,
  tools: Instruments,
  asked: Pick<Asked, 'metrics' | 'signal'> & { readonly measured: readonly MetricResult[] },
): Promise<Place | undefined> {
  const errors = await ownErrors(twin, model, () => tools.calibration(samples), { signal: asked.signal });
  if (errors.length === 0) return undefined;
  const sqnr = await outputSqnr(twin, model, tools, samples, asked.signal);
  const found = culprit(twin, errors, sqnr, asked.measured, asked.metrics);
  if (!found) return { errors, sqnr, found, sentences: [soundText(errors, sqnr)] };
  const stats = await valueStats(twin, found, tools);
  return { errors, sqnr, found, sentences: [whereText(found, errors), whyText(found, stats)] };
}

/** The first layer whose own error stands out, else, where the outputs are bad, the first of the largest; undefined where all is well. */
function culprit(
  twin: Model,
  errors: readonly OwnError[],
  sqnr: number,
  measured: readonly MetricResult[],
  metrics: readonly Metric[],
): Culprit | undefined {
  const sorted = errors.map(({ own }) => own).sort((a, b) => a - b);
  const [worst = Infinity, middle = Infinity] = [sorted[0], sorted[sorted.length >> 1]];
  const bad = errors.find(({ own }) => own < fine && own < middle - apart);
  // Accuracy decides where there are labels: distances of a float model to itself have nothing to lose.
  const judged = accuraciesAmong(measured, metrics);
  const lost =
    judged.length > 0 ? judged.some(({ drop, dropInterval }) => drop > (dropInterval ?? Infinity)) : sqnr < good;
  const error = bad ?? (lost ? errors.find(({ own }) => own < worst + 3) : undefined);
  const node = error && twin.graph.node.find((one) => layerName(one) === error.layer);
  if (!error || !node) return undefined;
  const layer = layers(twin).layers.find((one) => one.node === node);
  return {
    layer: error.layer,
    op: layer && isDepthwise(layer.weight) ? `depthwise ${node.op_type}` : node.op_type,
    part: error.input <= error.weights ? 'input' : 'weights',
    error,
    weighted: layer !== undefined,
    alone: bad !== undefined,
  };
}

const dB = (value: number): string =>
  Number.isFinite(value) ? `${value.toFixed(1)} dB` : value > 0 ? 'none' : '-∞ dB';

function soundText(errors: readonly OwnError[], sqnr: number): string {
  const worst = errors.reduce((a, b) => (b.own < a.own ? b : a));
  return `no layer stands out: the outputs are at ${dB(sqnr)}, the largest own error is that of ${worst.layer}, ${dB(worst.own)}`;
}

function whereText({ layer, op, part, error, alone }: Culprit, errors: readonly OwnError[]): string {
  const place = `${errors.findIndex((one) => one.layer === layer) + 1} of ${errors.length}`;
  const inherited = error.inherited === Infinity ? 'it inherits none' : `it inherits ${dB(error.inherited)}`;
  const which =
    part === 'input' ? `its input "${error.value}", ${dB(error.input)}` : `its weights, ${dB(error.weights)}`;
  if (alone)
    return `the first fall is at ${layer} (${op}, ${place}): its own error is at ${dB(error.own)}, ${inherited}; most is from ${which}`;
  const own = errors.map((one) => one.own).filter(Number.isFinite);
  return `no layer stands out: own errors of ${Math.min(...own).toFixed(0)} to ${Math.max(...own).toFixed(0)} dB add up over ${errors.length} layers; the first of the largest is at ${layer} (${op}, ${place}), ${dB(error.own)}, most from ${which}`;
}

/** Ranges of the channels of what a culprit reads; undefined where it has none. */
async function valueStats(
  twin: Model,
  { part, error }: Culprit,
  tools: Instruments,
): Promise<ChannelStats | undefined> {
  if (part !== 'input' || twin.graph.initializer.some(({ name }) => name === error.value)) return undefined;
  const context = tools.context(noStage());
  const rank = (await context.shapes(twin)).get(error.value)?.dims.length ?? 0;
  if (rank < 2) return undefined;
  const fold = sealed(channelStats({ axis: rank > 3 ? 1 : -1 }, error.value));
  const collected = await context.collect(twin, new Map([[error.value, [fold]]]), samples);
  return collected.get(error.value)?.[0];
}

/** One channel beyond the others by this factor takes the range; a value so many deviations away is an outlier. */
const [wideChannel, farAway] = [8, 30];

function whyText({ layer, op, part, error }: Culprit, stats: ChannelStats | undefined): string {
  if (part === 'weights')
    return op.startsWith('depthwise')
      ? `a depthwise layer sums few products, whose rounding errors do not average out`
      : `the rounding of ${layer}'s weights: too few bits, or a few weights far larger than the rest of their channel`;
  if (!stats) return `the rounding of "${error.value}"`;
  const peaks = Array.from(stats.max, (max, c) => Math.max(Math.abs(max), Math.abs(stats.min[c] ?? 0)));
  const largest = Math.max(...peaks);
  const channel = peaks.indexOf(largest);
  const middle = [...peaks].sort((a, b) => a - b)[peaks.length >> 1] ?? 0;
  const show = (value: number): string => String(Number(value.toPrecision(3)));
  if (largest > wideChannel * middle)
    return `channel ${channel} of "${error.value}" reaches ${show(largest)}, the middle one of its ${peaks.length} channels ${show(middle)}: one scale for all of them leaves ${show(largest / middle)} times fewer steps to the rest`;
  const count = stats.count * stats.channels;
  const deviation = Math.sqrt(stats.sumSquares.reduce((a, b) => a + b, 0) / Math.max(1, count));
  if (largest > farAway * deviation)
    return `"${error.value}" reaches ${show(largest)}, ${show(largest / deviation)} standard deviations: an outlier takes the range`;
  return `the rounding of "${error.value}", whose values lie evenly`;
}

/** The mildest cure that comes near the best, where that is worth it. */
function chosen(tried: readonly TriedCure[], sqnr: number): TriedCure | undefined {
  const best = Math.max(...tried.map((one) => one.sqnr));
  return best > sqnr + 1 ? tried.find((one) => one.sqnr > best - 1.5) : undefined;
}

function triedText(tried: readonly TriedCure[], best: TriedCure | undefined, sqnr: number): string {
  const all = tried.map((one) => `${one.cure.label}: ${dB(one.sqnr)}`).join('; ');
  const base = `tried on ${samples} calibration samples, outputs at ${dB(sqnr)} before`;
  return best
    ? `${base}: ${best.cure.label} brings ${dB(best.sqnr)}${tried.length > 1 ? ` (${all})` : ''}`
    : `${base}, nothing helped${all && `: ${all}`}`;
}
