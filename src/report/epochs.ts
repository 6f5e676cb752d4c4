import type { MetricResult } from '../metrics/metric.ts';
import type { TrainedEpoch } from '../passes/pass.ts';
import type { RunReport, StageReport } from '../run/report.ts';
import { epochsOf, type EpochReport } from './epoch_notes.ts';
import { hanging, number, percent, titleOf, withInterval } from './format.ts';
import type { Paint } from './paint.ts';
import { measurementShown, metricNamed, shownMetrics } from './summary.ts';
import { right, table } from './table.ts';

/** Epochs of training in the terminal. */

/** More epochs than this are shown by those that matter. */
export const mostEpochs = 12;

/**
 * The stages whose row a terminal shows: all that are no epochs; of many epochs the first and the last, the best and the worst, the one of least loss,
 * those at which the learning rate fell to less than half or a gate began or ceased to hold, and whatever was not simply kept.
 */
export function shownStages(report: RunReport): readonly StageReport[] {
  const epochs = epochsOf(report);
  if (epochs.length <= mostEpochs) return report.stages;
  const metric = shownMetrics(report)[0];
  const worth = (stage: StageReport): number => {
    const { value = NaN, higherIsBetter = true } = metricNamed(stage.measurement, metric?.name ?? '') ?? {};
    return Number.isNaN(value) ? -Infinity : higherIsBetter ? value : -value;
  };
  const held = ({ attempts }: StageReport): boolean | undefined => attempts.at(-1)?.passed;
  const best = epochs.reduce((a, b) => (worth(b) > worth(a) ? b : a));
  const worst = epochs.reduce((a, b) => (worth(b) < worth(a) ? b : a));
  const least = epochs.reduce((a, b) => (b.trained.loss < a.trained.loss ? b : a));
  const turns = epochs.filter((stage, i) => {
    const before = epochs[i - 1];
    return before && (held(stage) !== held(before) || stage.trained.lr < before.trained.lr / 2);
  });
  // What happens all the time is no turn.
  const wanted = new Set([
    epochs[0],
    epochs.at(-1),
    best,
    worst,
    least,
    ...(turns.length > mostEpochs - 5 ? [] : turns),
  ]);
  return report.stages.filter((stage) => stage.trained === undefined || stage.verdict !== 'kept' || wanted.has(stage as EpochReport)); // prettier-ignore
}

/** Figures of an epoch as people read them. Accuracies are of the training samples, as they were met. */
export const epochCells = ({ epoch, loss, accuracy, lr }: TrainedEpoch): [string, string, string, string] => [
  String(epoch),
  number(loss, ''),
  accuracy === undefined ? '' : number(accuracy, '%'),
  Number(lr.toPrecision(3)).toString(),
];

export const epochTitles = ['epoch', 'loss', 'accuracy %', 'lr'] as const;

/** One row an epoch: what was learnt, and what the model is after it. */
export function epochTable(report: RunReport, paint: Paint, width: number): string {
  const epochs = epochsOf(report);
  if (epochs.length === 0) return '';
  const metric = shownMetrics(report)[0];
  const shown = shownStages(report).filter((stage): stage is EpochReport => stage.trained !== undefined);
  const rows = shown.map((stage) => {
    const measured = measurementShown(stage);
    return [...epochCells(stage.trained), valueOf(metricNamed(measured, metric?.name ?? '')), measured ? percent(measured.zeros) : '']; // prettier-ignore
  });
  const kept = [...epochTitles, metric ? titleOf(metric) : '', 'zeros'].map((title, i) => ({ title, i })).filter(({ i }) => rows.some((row) => row[i] !== '')); // prettier-ignore
  const left = shown.length < epochs.length ? `; ${shown.length} of ${epochs.length} epochs: all stand in report.html and report.json` : ''; // prettier-ignore
  const told = `loss${kept.some(({ i }) => i === 2) ? ' and accuracy' : ''}: of the training samples, as they were met${left}`;
  return `${table(kept.map(({ title }) => right(title)), rows.map((row) => kept.map(({ i }) => row[i]!)), paint, width)}\n${paint.dim(hanging('', told, width))}`; // prettier-ignore
}

const valueOf = (metric: MetricResult | undefined): string =>
  metric ? withInterval(metric.value, metric.interval, metric.unit) : '';
