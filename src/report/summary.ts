import type { MetricResult } from '../metrics/metric.ts';
import type { Note } from '../passes/pass.ts';
import type { Attempt, Measurement, RunReport, StageReport } from '../run/report.ts';
import type { Gate, Limit } from '../schedule/types.ts';
import { epochNotes } from './epoch_notes.ts';
import { bytes, dropText, grouped, number, percent, pointsOf, titleOf, withInterval } from './format.ts';

/** What the terminal and the HTML both show of a report, picked out once. */

/** The metrics worth a column: those a gate stands on, else the first one measured. */
export function shownMetrics(report: RunReport): readonly MetricResult[] {
  const gated = new Set(report.stages.flatMap((stage) => (stage.gate ? [stage.gate.metric] : [])));
  const metrics = report.baseline.metrics;
  const shown = metrics.filter((metric) => gated.has(metric.name));
  return shown.length > 0 ? shown : metrics.slice(0, 1);
}

export function metricNamed(measurement: Measurement | undefined, name: string): MetricResult | undefined {
  return measurement?.metrics.find((metric) => metric.name === name);
}

/** A metric of the result beside the float model's: its title, float, result, drop, samples. */
export function metricCells(metric: MetricResult): string[] {
  const { reference, value, interval, unit, samples } = metric;
  const result = withInterval(value, interval, unit);
  return [titleOf(metric), number(reference, unit), result, dropText(metric), grouped(samples)];
}

/** The batch sizes that were timed, in order. */
export function batchesOf(report: RunReport): readonly number[] {
  const all = [report.baseline, report.result.measurement, ...report.stages.map((stage) => stage.measurement)];
  const batches = new Set(all.flatMap((one) => (one?.latency ?? []).map((latency) => latency.batch)));
  return [...batches].sort((a, b) => a - b);
}

/** Stages whose work was thrown away. */
function rejected(stage: StageReport): boolean {
  return stage.verdict === 'undone' || stage.verdict === 'stopped';
}

/** The attempt a stage's row is about: the strongest that held, or what was asked for where nothing did. */
function attemptShown(stage: StageReport): Attempt | undefined {
  if (rejected(stage)) return stage.attempts[0];
  return stage.attempts.filter((attempt) => attempt.passed).at(-1) ?? stage.attempts[0];
}

/**
 * What to show in a stage's row. A stage that was undone or stopped shows what it had cost, not the model that went on
 * without it: the row would otherwise repeat the one above it.
 */
export function measurementShown(stage: StageReport): Measurement | undefined {
  return rejected(stage) && stage.attempts.length > 0 ? attemptShown(stage)?.measurement : stage.measurement;
}

/** The strength of what is shown: `sparsity 0.74`. */
export function strengthOf(stage: StageReport): string {
  return attemptShown(stage)?.strength ?? '';
}

/** `top1 may drop 0.5 points, else undo`, `sqnr at least 25 dB, else stop`. */
export function gateText(gate: Gate, unit: MetricResult['unit']): string {
  const instead = gate.insteadOf === undefined ? '' : ` (in place of ${gate.insteadOf})`;
  return `${limitText(gate, unit)}${instead}, else ${gate.onFail}`;
}

function limitText(limit: Limit, unit: MetricResult['unit']): string {
  if ('min' in limit) return `${limit.metric} at least ${number(limit.min, '')}${unit && ` ${unit}`}`;
  if ('max' in limit) return `${limit.metric} at most ${number(limit.max, '')}${unit && ` ${unit}`}`;
  const { metric, maxDrop, relative } = limit;
  return `${metric} may drop ${relative ? `${number(maxDrop * 100, '')} % of float` : `${number(maxDrop, '')}${pointsOf(unit)}`}`;
}

/** What an attempt gave of what its gate is about: `drop 0.40 ±0.20`, `sqnr 12.3 dB`. */
export function triedText(gate: Gate, attempt: Attempt): string {
  const metric = metricNamed(attempt.measurement, gate.metric);
  if (!metric) return attempt.measurement ? 'not measured' : 'does not run';
  if ('maxDrop' in gate) return `drop ${dropText(metric)}`;
  return `${metric.name} ${withInterval(metric.value, metric.interval, metric.unit)}${metric.unit && ` ${metric.unit}`}`;
}

/** A drop that its own interval covers could as well be none. */
export function isNoise(metric: MetricResult): boolean {
  return metric.dropInterval !== undefined && Math.abs(metric.drop) <= metric.dropInterval;
}

/** Layers by reason, in order of first appearance: one sentence stands once, however many layers it is said of. */
export function byReason(
  notes: readonly Note[],
): readonly { readonly reason: string; readonly layers: readonly string[] }[] {
  const groups = new Map<string, string[]>();
  for (const { layer, text } of notes) {
    const group = groups.get(text);
    if (group) group.push(layer);
    else groups.set(text, [layer]);
  }
  return [...groups].map(([reason, layers]) => ({ reason, layers }));
}

/** Every remark that belongs to no layer, once each, in the order data, run, stages. */
export function remarks(report: RunReport): readonly string[] {
  const { calibration, validation, notes } = report.data;
  // One sentence stands once, of the first stage that says it: retries and later stages find the same.
  const told = new Set<string>(report.notes);
  const stages = report.stages.flatMap((stage) =>
    stage.notes.flatMap((note) => {
      if (told.has(note) || stage.trained) return [];
      told.add(note);
      return [`${stage.index} ${stage.instance}: ${note}`];
    }),
  );
  const all = [
    notes,
    calibration.notes,
    validation.notes,
    report.notes,
    epochNotes(report),
    stages,
    zerosRemark(report),
  ];
  return [...new Set(all.flat())];
}

/** What the zeros of pruned weights are good for, and what not. */
function zerosRemark({ baseline, result, stages }: RunReport): string[] {
  const { zeros } = result.measurement;
  const kept = stages.some(
    (stage) => (stage.trained !== undefined || stage.pass.startsWith('prune/')) && result.stages.includes(stage.index),
  );
  if (!kept || zeros < baseline.zeros + 0.05) return [];
  return [
    `${percent(zeros)} of the weights are zero: onnxruntime multiplies with them, so they save no time; what they save is the file under gzip${result.gzip > 0 ? ` (${bytes(result.gzip)} of ${bytes(result.measurement.bytes)})` : ''} or packed by WeightEncoder. Removed channels save both.`,
  ];
}
