import type { MetricResult } from '../metrics/metric.ts';
import type { Gate } from '../schedule/types.ts';
import { QtoolError } from '../util/error.ts';

/** Whether a gate holds, and the sentence that says so. */
export interface GateResult {
  readonly passed: boolean;
  readonly why: string;
  /** By how much the cost is beyond what is allowed; 0 and below: it passed. Infinity where there is no finite value. */
  readonly excess: number;
}

/**
 * Judges a measured drop against the float model on the same samples. A relative gate takes the drop as a share of the float
 * value. @throws QtoolError where the metric was not measured.
 */
export function judge(gate: Gate, metrics: readonly MetricResult[]): GateResult {
  const result = metrics.find((m) => m.name === gate.metric);
  if (!result)
    throw new QtoolError('schedule', `the gate asks for "${gate.metric}", which was not measured`, {
      hint: `measured: ${metrics.map((m) => m.name).join(', ') || 'nothing'}; name it under "metric" of the data config`,
    });
  if (!Number.isFinite(result.value))
    return { passed: false, why: `${gate.metric} is ${result.value}`, excess: Infinity };
  const reference = result.reference ?? result.value;
  const drop = result.drop ?? (result.higherIsBetter ? reference - result.value : result.value - reference);
  const cost = gate.relative ? drop / Math.abs(reference) : drop;
  const passed = cost <= gate.maxDrop;
  const text = (v: number): string =>
    gate.relative
      ? `${(100 * v).toFixed(2)} %`
      : `${v.toFixed(2)}${result.unit === '%' ? ' points' : result.unit && ` ${result.unit}`}`;
  const interval =
    result.dropInterval === undefined
      ? undefined
      : gate.relative
        ? result.dropInterval / Math.abs(reference)
        : result.dropInterval;
  // Where the limit lies inside the interval, other samples of the same kind may well judge otherwise.
  const doubt =
    interval !== undefined && Math.abs(cost - gate.maxDrop) < interval
      ? `; its 95 % interval on ${result.samples} samples, ${text(cost - interval)} to ${text(cost + interval)}, holds the limit: more samples may decide otherwise`
      : '';
  return {
    passed,
    why: `${gate.metric} drop ${text(cost)} ${passed ? '≤' : '>'} ${text(gate.maxDrop)}${doubt}`,
    excess: cost - gate.maxDrop,
  };
}
