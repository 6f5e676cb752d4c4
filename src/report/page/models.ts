import type { MetricResult } from '../../metrics/metric.ts';
import type { Measurement, RunReport } from '../../run/report.ts';
import { metricNamed } from '../summary.ts';

/** A model that a run measured, as a point of size and quality. */
export interface MeasuredModel {
  readonly label: string;
  readonly role: 'float' | 'tried' | 'refused' | 'kept' | 'result';
  readonly bytes: number;
  readonly metric: MetricResult;
}

/** Every model of a run that this metric was measured of, once each: float, all attempts, what went on after each stage, the result. */
export function measuredModels(report: RunReport, name: string): MeasuredModel[] {
  const found = new Map<string, MeasuredModel>();
  const rank = { tried: 0, refused: 0, kept: 1, float: 2, result: 3 } as const;
  const add = (label: string, role: MeasuredModel['role'], measurement: Measurement | undefined): void => {
    const metric = metricNamed(measurement, name);
    if (measurement === undefined || metric === undefined || !Number.isFinite(metric.value)) return;
    // The same numbers are the same model, or one that no one could tell from it.
    const key = `${measurement.bytes} ${metric.value}`;
    const known = found.get(key);
    if (known === undefined || rank[role] > rank[known.role]) found.set(key, { label: role === 'result' && known ? `${label}: ${known.label}` : label, role, bytes: measurement.bytes, metric }); // prettier-ignore
  };
  add('float model', 'float', report.baseline);
  for (const stage of report.stages) {
    const rejected = stage.verdict === 'undone' || stage.verdict === 'stopped';
    for (const attempt of stage.attempts) {
      const role = attempt.passed && !rejected ? 'tried' : 'refused';
      add(`${stage.index} ${stage.instance} ${attempt.strength}`.trim(), role, attempt.measurement);
    }
    if (!rejected) add(`${stage.index} ${stage.instance}`, 'kept', stage.measurement);
  }
  if (report.result.path !== undefined && report.result.stages.length > 0)
    add('result', 'result', report.result.measurement);
  return [...found.values()];
}

/** The models that no other one beats in both size and quality, by size. */
export function frontierOf<M extends Pick<MeasuredModel, 'bytes' | 'metric'>>(models: readonly M[]): M[] {
  const worth = ({ metric }: M): number => (metric.higherIsBetter ? metric.value : -metric.value);
  const sorted = [...models].sort((a, b) => a.bytes - b.bytes || worth(b) - worth(a));
  let best = -Infinity;
  return sorted.filter((model) => {
    if (worth(model) <= best) return false;
    best = worth(model);
    return true;
  });
}
