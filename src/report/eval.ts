import type { ExitUses } from '../analyze/exits.ts';
import type { DatasetInfo } from '../data/types.ts';
import type { Latency } from '../runtime/time.ts';
import type { MetricResult } from '../metrics/metric.ts';
import type { Measurement } from '../run/report.ts';
import {
  bullets,
  bytes,
  datasetText,
  dropText,
  grouped,
  hanging,
  number,
  percent,
  titleOf,
  withInterval,
} from './format.ts';
import type { Paint } from './paint.ts';
import { right, table } from './table.ts';

/** A metric of a model without a reference: against itself it drops by nothing. */
export type Alone = Omit<MetricResult, 'reference' | 'drop' | 'dropInterval'>;

/** What `qtool eval` found out: plain data, printed as text or JSON. */
export interface EvalReport {
  readonly format: 1;
  readonly model: { readonly path: string; readonly bytes: number };
  readonly reference: { readonly path: string; readonly bytes: number } | undefined;
  readonly data: DatasetInfo;
  readonly measurement: Omit<Measurement, 'metrics'> & { readonly metrics: readonly (MetricResult | Alone)[] };
  /** Of a model with early exits. */
  readonly exits: ExitUses | undefined;
  /** What must be known before the figures are used. */
  readonly warnings: readonly string[];
  readonly notes: readonly string[];
}

export function evalText(report: EvalReport, paint: Paint, width: number): string {
  const { model, reference, data, measurement } = report;
  const of = reference ? `, ${percent(model.bytes / reference.bytes)} of the reference` : '';
  const head = [
    hanging('model      ', `${model.path}: ${bytes(model.bytes)}${of}, ${percent(measurement.zeros)} zeros`, width),
    ...(reference ? [hanging('reference  ', `${reference.path}: ${bytes(reference.bytes)}`, width)] : []),
    hanging('data       ', datasetText(data), width),
  ];
  const parts = [
    report.warnings.map((text) => paint.yellow(hanging('! ', text, width))).join('\n'),
    head.map((line) => paint.dim(line)).join('\n'),
    metricTable(report, paint),
    exitTable(report.exits, paint),
    latencyTable(measurement.latency, reference !== undefined, paint),
    bullets('notes', report.notes, paint, width),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

export function metricTable(
  { measurement, reference }: Pick<EvalReport, 'measurement' | 'reference'>,
  paint: Paint,
): string {
  if (measurement.metrics.length === 0) return '';
  const compared = reference !== undefined;
  const rows = measurement.metrics.map((metric) => [
    titleOf(metric),
    withInterval(metric.value, metric.interval, metric.unit),
    ...('drop' in metric ? [number(metric.reference, metric.unit), dropText(metric)] : []),
    grouped(metric.samples),
  ]);
  const columns = [
    { title: 'metric' },
    right('value'),
    ...(compared ? [right('reference'), right('drop')] : []),
    right('samples'),
  ];
  const outputs = measurement.metrics.flatMap((metric) =>
    Object.keys(metric.perOutput ?? {}).length < 2
      ? []
      : Object.entries(metric.perOutput ?? {}).map(
          ([name, value]) => `  ${metric.name} of ${name}: ${number(value, metric.unit)}`,
        ),
  );
  return [table(columns, rows, paint), ...outputs.map((line) => paint.dim(line))].join('\n');
}

function exitTable(uses: ExitUses | undefined, paint: Paint): string {
  if (!uses) return '';
  const points = (value: number | undefined): string => (value === undefined ? '' : number(value, '%'));
  const share = (samples: number): string => percent(samples / uses.samples, 2);
  const rows = uses.exits.map(({ output, threshold, samples, accuracy, accuracyOfAll, macs }) => [
    ...[output, threshold === undefined ? '' : String(threshold), grouped(samples), share(samples)],
    ...[points(accuracy), points(accuracyOfAll), grouped(macs), percent(macs / uses.macsWithout)],
  ]);
  const columns = [
    ...[{ title: 'sample leaves at' }, right('entropy up to'), right('samples'), right('share')],
    ...[right('top1 % of these'), right('of all'), right('MACs'), right('of the model')],
  ];
  const all = ['all', '', grouped(uses.samples), '', points(uses.accuracy), '', grouped(uses.macs), percent(uses.macs / uses.macsWithout)]; // prettier-ignore
  return table(columns, [...rows, all], paint);
}

export function latencyTable(latency: readonly Latency[], compared: boolean, paint: Paint): string {
  if (latency.length === 0) return '';
  const rows = latency.map((one) => [
    String(one.batch),
    `${one.milliseconds.toPrecision(3)} ms`,
    ...(compared
      ? [
          `${one.floatMilliseconds.toPrecision(3)} ms`,
          `${number(one.ratio, '%')}×`,
          `${number(one.ratioLow, '%')} to ${number(one.ratioHigh, '%')}`,
        ]
      : []),
  ]);
  const columns = [
    right('batch'),
    right('median'),
    ...(compared ? [right('reference'), right('speed'), right('middle half')] : []),
  ];
  return table(columns, rows, paint);
}
