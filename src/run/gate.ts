import type { MetricResult } from '../metrics/metric.ts';
import type { Limit } from '../schedule/types.ts';
import { QtoolError } from '../util/error.ts';

/** Whether a gate holds, and the sentence that says so. */
export interface GateResult {
  readonly passed: boolean;
  readonly why: string;
  /** By how much the cost is beyond what is allowed; 0 and below: it passed. Infinity where there is no number. */
  readonly excess: number;
}

/**
 * Judges a metric by its limit: the drop against the float model on the same samples (a relative one as a share of the float
 * value), or the value itself. What is no number fails. @throws QtoolError where the metric was not measured.
 */
export function judge(limit: Limit, metrics: readonly MetricResult[]): GateResult {
  const result = metrics.find((m) => m.name === limit.metric);
  if (!result)
    throw new QtoolError('schedule', `the gate asks for "${limit.metric}", which was not measured`, {
      hint: `measured: ${metrics.map((m) => m.name).join(', ') || 'nothing'}; name it under "metric" of the data config`,
    });
  const { value, drop, reference, unit } = result;
  const share = 'maxDrop' in limit && limit.relative ? 1 / Math.abs(reference) : undefined;
  // What is compared, its interval, and the limit.
  const [what, cost, interval, most] =
    'maxDrop' in limit
      ? [' drop', drop * (share ?? 1), result.dropInterval && result.dropInterval * (share ?? 1), limit.maxDrop]
      : ['', value, result.interval, 'min' in limit ? limit.min : limit.max];
  if (Number.isNaN(value) || Number.isNaN(cost))
    return { passed: false, why: `${limit.metric}${what} is not a number`, excess: Infinity };
  const least = 'min' in limit;
  const excess = cost === most ? 0 : least ? most - cost : cost - most;
  const units = unit === '%' ? (what === '' ? ' %' : ' points') : unit && ` ${unit}`;
  const scale = share === undefined ? 1 : 100;
  const decimal = decimals(cost * scale, most * scale);
  const text = (v: number): string => `${decimal(v * scale)}${share === undefined ? units : ' %'}`;
  // Where the limit lies inside the interval, other samples of the same kind may well judge otherwise.
  const doubt =
    interval !== undefined && Math.abs(excess) < interval
      ? `; its 95 % interval on ${result.samples} samples, ${text(cost - interval)} to ${text(cost + interval)}, holds the limit: more samples may decide otherwise`
      : '';
  const passed = excess <= 0;
  const sign = passed ? (least ? '≥' : '≤') : least ? '<' : '>';
  return { passed, why: `${limit.metric}${what} ${text(cost)} ${sign} ${text(most)}${doubt}`, excess };
}

/** Numbers of one sentence in the same decimals: two, or as many more as show the limit and on which side of it the cost is. */
function decimals(cost: number, limit: number): (value: number) => string {
  const shows = (digits: number): boolean =>
    Math.abs(Number(limit.toFixed(digits)) - limit) <= Math.abs(limit) / 100 &&
    (cost === 0 || Number(cost.toFixed(digits)) !== 0) &&
    (cost === limit || cost.toFixed(digits) !== limit.toFixed(digits));
  const digits = [2, 3, 4, 5, 6].find(shows);
  return (value) => {
    if (!Number.isFinite(value)) return value > 0 ? '∞' : '-∞';
    // No -0.00.
    return digits === undefined
      ? String(Number(value.toPrecision(3)))
      : (Number(value.toFixed(digits)) + 0).toFixed(digits);
  };
}
