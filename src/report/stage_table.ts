import type { MetricResult } from '../metrics/metric.ts';
import type { Measurement, RunReport, StageReport, Verdict } from '../run/report.ts';
import { bytes, dropText, hanging, number, percent, titleOf, withInterval, wrap } from './format.ts';
import { shownStages } from './epochs.ts';
import type { Paint } from './paint.ts';
import { batchesOf, isNoise, measurementShown, metricNamed, shownMetrics, strengthOf } from './summary.ts';
import { right, table, widthOf, type Column } from './table.ts';

/**
 * One row a stage, the float model first. The pass column takes what room the numbers leave and wraps between words; where a line has no
 * room for the longest of them, columns that say least are left out, and named.
 */
export function stageTable(report: RunReport, paint: Paint, width: number): string {
  const metrics = shownMetrics(report);
  const batches = batchesOf(report);
  const columns: Column[] = [
    right('#'),
    { title: 'pass' },
    ...metrics.flatMap((metric) => [right(titleOf(metric)), right('drop')]),
    right('bytes'),
    right('of float'),
    right('zeros'),
    ...batches.map((batch) => right(`batch ${batch}`)),
    { title: 'verdict' },
  ];
  const numbers = (measurement: Measurement | undefined) => [
    ...metrics.flatMap((metric) => {
      const [value, drop] = metricCells(metricNamed(measurement, metric.name), paint);
      // The float model's drop against itself is no news.
      return [value, measurement === report.baseline ? '' : drop];
    }),
    ...sizeCells(measurement, report.model.bytes),
    ...batches.map((batch) => latencyCell(measurement, batch, paint)),
  ];
  const rows = [
    ['', 'float model', ...numbers(report.baseline), ''],
    ...shownStages(report).map((stage) => [
      String(stage.index),
      passText(stage),
      ...numbers(measurementShown(stage)),
      paintVerdict(stage.verdict, paint),
    ]),
  ];
  const { shown, left } = fitting(columns, rows, width);
  const some = <T>(all: readonly T[]): T[] => shown.map((i) => all[i]!);
  const kept = rows.map(some);
  return [
    table(some(columns), wrapColumn(some(columns), kept, 1, width), paint, width),
    ...legend(report, batches.filter((batch) => !left.includes(`batch ${batch}`)), paint, width), // prettier-ignore
    ...(left.length > 0 ? [paint.dim(hanging('', `no room for ${left.join(', ')}: see report.html`, width))] : []),
  ].join('\n');
}

/** Places of the columns that a line has room for beside the longest word of the second, and the titles of those left out. */
function fitting(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number,
): { readonly shown: readonly number[]; readonly left: readonly string[] } {
  const word = Math.max(...rows.flatMap((row) => row[1]!.split(' ').map((one) => one.length)));
  const least = ['zeros', ...columns.map(({ title }) => title).filter((title) => title.startsWith('batch')).reverse(), 'of float']; // prettier-ignore
  const left: string[] = [];
  const shown = (): number[] => columns.flatMap(({ title }, i) => (left.includes(title) ? [] : [i]));
  const room = (): number => {
    const places = shown();
    const titles = places.map((i) => columns[i]!.title);
    return width - widthOf(titles, rows.map((row) => places.map((i) => row[i]!)), 1); // prettier-ignore
  };
  while (room() < word && left.length < least.length) left.push(least[left.length]!);
  return { shown: shown(), left };
}

function passText(stage: StageReport): string {
  const strength = strengthOf(stage);
  return strength === '' ? `${stage.pass} (${stage.instance})` : `${stage.pass} ${strength}`;
}

function metricCells(metric: MetricResult | undefined, paint: Paint): [string, string] {
  if (!metric) return ['', ''];
  const value = withInterval(metric.value, metric.interval, metric.unit);
  const drop = dropText(metric);
  return [value, isNoise(metric) ? paint.dim(drop) : metric.drop > 0 ? paint.yellow(drop) : paint.green(drop)];
}

function sizeCells(measurement: Measurement | undefined, floatBytes: number): [string, string, string] {
  if (!measurement) return ['', '', ''];
  return [bytes(measurement.bytes), percent(measurement.bytes / floatBytes), percent(measurement.zeros)];
}

function latencyCell(measurement: Measurement | undefined, batch: number, paint: Paint): string {
  const latency = measurement?.latency.find((one) => one.batch === batch);
  if (!latency) return '';
  const text = `${number(latency.ratio, '%')}×`;
  // Only a whole interquartile range on one side of 1 is called faster or slower.
  return latency.ratioLow > 1 ? paint.green(text) : latency.ratioHigh < 1 ? paint.yellow(text) : text;
}

/** How each verdict is coloured. */
export function paintVerdict(verdict: Verdict, paint: Paint): string {
  if (verdict === 'kept') return paint.green(verdict);
  return verdict === 'undone' || verdict === 'stopped' ? paint.red(verdict) : paint.yellow(verdict);
}

/** Wraps one column so that the table fits the width; numbers are never cut. */
function wrapColumn(columns: readonly Column[], rows: readonly string[][], wrapped: number, width: number): string[][] {
  const titles = columns.map(({ title }) => title);
  const room = Math.max(12, width - widthOf(titles, rows, wrapped));
  return rows.map((row) => row.map((cell, i) => (i === wrapped ? wrap(cell, room).join('\n') : cell)));
}

function legend(report: RunReport, batches: readonly number[], paint: Paint, width: number): string[] {
  const measured = [report.baseline, ...report.stages.map(measurementShown)].flatMap((one) => one?.metrics ?? []);
  const intervals = measured.some((metric) => metric.interval !== undefined || metric.dropInterval !== undefined);
  const lines: string[] = [];
  if (intervals)
    lines.push('±: 95 % interval; of a drop, paired on the same samples. A drop below its own ± may be none.');
  if (batches.length > 0)
    lines.push('×: speed against the float model, median of interleaved runs (above 1 is faster).');
  return lines.map((line) => paint.dim(hanging('', line, width)));
}
