import type { OwnError } from '../analyze/own_error.ts';
import { isDepthwise, layers } from '../graph/layer.ts';
import type { Model } from '../graph/model.ts';
import { layerName } from '../graph/query.ts';
import type { Metric, MetricResult } from '../metrics/metric.ts';
import type { ChannelStats } from '../numerics/channel_stats.ts';
import { given } from '../util/must.ts';
import type { Clipped, Range } from './clipping.ts';
import type { Farthest } from './rare.ts';
import { accuraciesAmong } from './verdict.ts';

/** The layer that did the damage. */
export interface Culprit {
  readonly layer: string;
  readonly op: string;
  readonly part: 'input' | 'weights';
  readonly error: OwnError;
  /** It has weights, so that a schedule can name it. */
  readonly weighted: boolean;
  /** Whether it stands out, or only has the largest of many like errors. */
  readonly alone: boolean;
  /** What is known to be the matter: its input's range, which cuts values off. */
  readonly cause?: 'clipping' | 'few samples' | 'rare' | 'magnified';
}

/** dB below the middle layer's that make a layer stand out. */
const apart = 8;

/** The own error, dB, above which no layer is at fault. */
export const fine = 25;

/** Without labels, outputs below so many dB are taken to have lost something. */
export const good = 20;

/** The first layer whose own error stands out, else, where the outputs are bad, the first of the largest; undefined where all is well. */
export function culprit(
  twin: Model,
  errors: readonly OwnError[],
  sqnr: number,
  measured: readonly MetricResult[],
  metrics: readonly Pick<Metric, 'name' | 'perfect'>[],
): Culprit | undefined {
  const sorted = errors.map(({ own }) => own).sort((a, b) => a - b);
  const [worst = Infinity, middle = Infinity] = [sorted[0], sorted[sorted.length >> 1]];
  const bad = errors.find(({ own }) => own < fine && own < middle - apart);
  // Accuracy decides where there are labels: distances of a float model to itself have nothing to lose.
  const judged = accuraciesAmong(measured, metrics);
  const lost =
    judged.length > 0 ? judged.some(({ drop, dropInterval }) => drop > (dropInterval ?? Infinity)) : sqnr < good;
  const error = bad ?? (lost ? errors.find(({ own }) => own < worst + 3) : undefined);
  return error && culpritOf(twin, error, bad !== undefined);
}

/** By how many dB samples that no range was calibrated on must be worse. */
const strange = 4;

export const worseBy = (calibrated: number, other: number): boolean => other < calibrated - strange;

/**
 * The first layer that is worse on samples which its range was not calibrated on, by its input, and as bad as the worst of these.
 * @param others own errors on such samples; `errors` on those that ranges were calibrated on.
 */
export function unforeseen(twin: Model, errors: readonly OwnError[], others: readonly OwnError[]): Culprit | undefined {
  const before = new Map(errors.map((one) => [one.layer, one.own]));
  const worse = others.filter(
    ({ layer, own, input, weights }) => input <= weights && worseBy(before.get(layer) ?? own, own),
  );
  const worst = Math.min(...worse.map(({ own }) => own));
  const error = worse.find(({ own }) => own < worst + 3);
  return error && { ...culpritOf(twin, error, true), cause: 'few samples' };
}

export function culpritOf(twin: Model, error: OwnError, alone: boolean): Culprit {
  const node = given(
    twin.graph.node.find((one) => layerName(one) === error.layer),
    `layer ${error.layer}`,
  );
  const layer = layers(twin).layers.find((one) => one.node === node);
  return {
    layer: error.layer,
    op: layer && isDepthwise(layer.weight) ? `depthwise ${node.op_type}` : node.op_type,
    part: error.input <= error.weights ? 'input' : 'weights',
    error,
    weighted: layer !== undefined,
    alone,
  };
}

/** Decibels in words. */
export const dB = (value: number): string =>
  Number.isFinite(value) ? `${value.toFixed(1)} dB` : value > 0 ? 'none' : '-∞ dB';

/** That all is well. */
export function soundText(errors: readonly OwnError[], sqnr: number): string {
  const worst = errors.reduce((a, b) => (b.own < a.own ? b : a));
  const outputs = Number.isFinite(sqnr) ? `the outputs are at ${dB(sqnr)}, ` : '';
  return `no layer stands out: ${outputs}the largest own error is that of ${worst.layer}, ${dB(worst.own)}`;
}

/** Where the error enters. */
export function whereText({ layer, op, part, error, alone }: Culprit, errors: readonly OwnError[]): string {
  const place = `${errors.findIndex((one) => one.layer === layer) + 1} of ${errors.length}`;
  const inherited = error.inherited === Infinity ? 'it inherits none' : `it inherits ${dB(error.inherited)}`;
  const which =
    part === 'input' ? `its input "${error.value}", ${dB(error.input)}` : `its weights, ${dB(error.weights)}`;
  // What it inherits may be the larger part: then no error begins here, and it is only the worst of many.
  if (alone && error.inherited < error.own)
    return `the own error that stands out is that of ${layer} (${op}, ${place}), ${dB(error.own)}, most from ${which}; larger still is what it inherits from the layers before, ${dB(error.inherited)}`;
  if (alone)
    return `the first fall is at ${layer} (${op}, ${place}): its own error is at ${dB(error.own)}, ${inherited}; most is from ${which}`;
  // No -0, which toFixed would give of what is a little below 0.
  const own = errors.map((one) => Math.round(one.own) + 0).filter(Number.isFinite);
  const [least, most] = [Math.min(...own), Math.max(...own)];
  return `no layer stands out: own errors of ${least === most ? least : `${least} to ${most}`} dB add up over ${errors.length} layers; the first of the largest is at ${layer} (${op}, ${place}), ${dB(error.own)}, most from ${which}`;
}

const show = (value: number): string => String(Number(value.toPrecision(3)));
const rangeText = ([low, high]: Range): string => `${show(low)} to ${show(high)}`;

/** That a range leaves out what calibration samples hold, and by which method it was chosen, where that is known. */
export function clippingText(value: string, range: Range, { beyond, count, reach }: Clipped, method?: string): string {
  return `clipping: calibration${method === undefined ? '' : ` by "${method}"`} gave "${value}" the range ${rangeText(range)}, which cuts off ${shareText(beyond / count)} of its values on the calibration samples themselves; they reach from ${rangeText(reach)}`;
}

/** That a range holds all that it was calibrated on, and not what comes later. */
export function fewSamplesText(
  value: string,
  range: Range,
  { beyond, count, reach }: Clipped,
  used: number,
  on: string,
): string {
  // prettier-ignore
  return `too few calibration samples, or others than these: by ${used} of them "${value}" was given the range ${rangeText(range)}; on ${on} it reaches from ${rangeText(reach)}, and ${shareText(beyond / count)} of its values are cut off`;
}

/** That few samples took the range, and which one reaches farthest. */
export function rareText(
  [value, range, { reach }]: readonly [string, Range, Clipped],
  far: Farthest | undefined,
  on: string,
): string {
  const which = far?.sample === undefined ? '' : `: calibration sample ${far.sample} holds ${show(far.reach)}`;
  return `a few calibration samples take the range: "${value}" was given ${rangeText(range)}, where ${on} reach from ${rangeText(reach)}${which}`;
}

/** Where more calibration samples come from. */
export const moreSamplesText = (available: number, used: number): string =>
  available > used
    ? `${available} calibration samples are there, ${used} were used: raise \`samples\` of the quantizer's calibration`
    : `all ${available} calibration samples were used: give more, by \`--samples\`, or by \`split\` or a larger \`calibration\` set in the data's config`;

const shareText = (share: number): string => `${show(100 * share)} %`;

/** One channel beyond the others by this factor takes the range; a value so many deviations away is an outlier. */
const [wideChannel, farAway] = [8, 30];

/** Why it does, by the ranges of the channels of what the layer reads. */
export function whyText({ layer, op, part, error }: Culprit, stats: ChannelStats | undefined): string {
  if (part === 'weights')
    return op.startsWith('depthwise')
      ? `a depthwise layer sums few products, whose rounding errors do not average out`
      : `the rounding of ${layer}'s weights: too few bits, or a few weights far larger than the rest of their channel`;
  if (!stats) return `the rounding of "${error.value}"`;
  const peaks = Array.from(stats.max, (max, c) => Math.max(Math.abs(max), Math.abs(stats.min[c] ?? 0)));
  const largest = Math.max(...peaks);
  const channel = peaks.indexOf(largest);
  const middle = [...peaks].sort((a, b) => a - b)[peaks.length >> 1] ?? 0;
  if (largest > wideChannel * middle)
    return `channel ${channel} of "${error.value}" reaches ${show(largest)}, the middle one of its ${peaks.length} channels ${show(middle)}: one scale for all of them leaves ${show(largest / middle)} times fewer steps to the rest`;
  const count = stats.count * stats.channels;
  const deviation = Math.sqrt(stats.sumSquares.reduce((a, b) => a + b, 0) / count);
  if (largest > farAway * deviation)
    return `"${error.value}" reaches ${show(largest)}, ${show(largest / deviation)} standard deviations: an outlier takes the range`;
  return `the rounding of "${error.value}", whose values lie evenly`;
}
