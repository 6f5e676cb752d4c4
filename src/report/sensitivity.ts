import type { SensitivityMap } from '../passes/pass.ts';
import type { LayerCurve, SensitivityReport, SensitivitySolution } from '../run/sensitivity.ts';
import { bullets, bytes, distinct, hanging, number, percent, plural } from './format.ts';
import type { Paint } from './paint.ts';
import { right, table, widthOf } from './table.ts';

/** What was looked at, on what, and how. */
export function sensitivityHead(
  { model, data, warnings }: Pick<SensitivityReport, 'model' | 'data' | 'warnings'>,
  how: string,
  paint: Paint,
  width: number,
): string {
  const source = data.kind === 'random' ? 'random input' : data.source;
  const lines = [
    hanging('model  ', `${model.path}: ${bytes(model.bytes)}`, width),
    hanging('data   ', `${source}: ${plural(data.samples, 'sample')}`, width),
    hanging('shown  ', how, width),
  ];
  const alarms = warnings.map((text) => `${paint.yellow(hanging('! ', text, width))}\n`);
  return [...alarms, ...lines.map((line) => paint.dim(line))].join('\n');
}

/** The drop of the metric for every layer and sparsity, and the levels that meet the target, with the YAML to paste. */
export function sensitivityText(report: SensitivityReport, paint: Paint, width: number): string {
  const { metric, curves, solution } = report;
  const levels = [...new Set(curves.flatMap(({ points }) => points.map((p) => p.sparsity)))].sort((a, b) => a - b);
  const cells = curves.map((curve) => levels.map((level) => cell(curve, level, metric.unit)));
  const titles = levels.map((level) => percent(level, 0));
  const room = Math.max(12, width - widthOf(titles, cells));
  const names = distinct(curves.map(({ layer }) => layer), room); // prettier-ignore
  const rows = cells.map((row, i) => [names[i] ?? '', ...row]);
  const parts = [
    sensitivityHead(report, `${report.class}, each layer alone; ${dropTitle(report)}`, paint, width),
    table([{ title: 'layer' }, ...titles.map(right)], rows, paint, width),
    solution ? solutionText(report, solution, width) : '',
    bullets('notes', report.notes, paint, width),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

const dropTitle = ({ metric }: SensitivityReport): string =>
  metric.unit === 'dB'
    ? `noise to signal of ${metric.name}`
    : `drop of ${metric.name} from ${number(metric.value, metric.unit)}${metric.unit === '%' ? ' %' : ''}`;

function cell({ points }: LayerCurve, level: number, unit: SensitivityReport['metric']['unit']): string {
  const point = points.find(({ sparsity }) => sparsity === level);
  if (!point) return '';
  return unit === 'dB' ? point.drop.toExponential(1) : number(point.drop, unit);
}

function solutionText(report: SensitivityReport, solution: SensitivitySolution, width: number): string {
  const { unit, target, foretold, value, drop, costs } = solution;
  const { metric } = report;
  const text = (v: number): string => (metric.unit === 'dB' ? v.toExponential(1) : number(v, metric.unit));
  const shares = Object.entries(costs).map(([name, share]) => `${percent(share)} of the ${unitName(name)}`);
  return [
    hanging(
      '',
      `For ${percent(target)} of the ${unitName(unit)}: ${metric.name} ${number(value, metric.unit)}, a drop of ${text(drop)} (the curves add up to ${text(foretold)}); ${shares.join(', ')}.`,
      width,
    ),
    '',
    solutionYaml(report, solution),
  ].join('\n');
}

const unitName = (unit: string): string =>
  ({ macs: 'MACs', parameters: 'parameters that are not zero', bytes: 'bytes, zeros packed' })[unit] ?? unit;

/** A schedule with the levels found. */
export function solutionYaml(report: SensitivityReport, { levels, drop, value }: SensitivitySolution): string {
  const { metric } = report;
  // A quarter beyond what was found; 1 dB below it where only the value itself has a bound.
  const bound =
    metric.unit === 'dB'
      ? `min: ${Number((value - 1).toPrecision(3))}`
      : `max_drop: ${Number(Math.max(0, drop * 1.25).toPrecision(2))}`;
  return [
    'version: 1',
    'pruners:',
    '  levels:',
    `    class: ${report.class}`,
    '    levels:',
    ...Object.entries(levels).map(([name, level]) => `      '${name.replaceAll("'", "''")}': ${level}`),
    'policies:',
    '  - pruner: { instance_name: levels }',
    '    epochs: [0]',
    `    gate: { metric: ${metric.name}, ${bound}, on_fail: retry }`,
  ].join('\n');
}

/** What the drops of a heat map are counted in: of a metric in dB they are noise beside the signal. */
export const noiseMetric = ({ name, unit }: SensitivityReport['metric']): Pick<SensitivityMap, 'metric' | 'unit'> =>
  unit === 'dB' ? { metric: `${name} (noise to signal)`, unit: '' } : { metric: name, unit };

/** The curves as a heat map. */
export function sensitivityMap({ curves, metric }: SensitivityReport): SensitivityMap {
  const levels = [...new Set(curves.flatMap(({ points }) => points.map((p) => p.sparsity)))].sort((a, b) => a - b);
  const valueAt = (points: LayerCurve['points'], level: number): number | undefined =>
    points.find(({ sparsity }) => sparsity === level)?.drop;
  return {
    ...noiseMetric(metric),
    columns: levels.map((level) => percent(level, 0)),
    rows: curves.map(({ layer, points }) => ({ layer, values: levels.map((level) => valueAt(points, level)) })),
  };
}

/** One row a point: what spreadsheets and plotting programs read. */
export function sensitivityCsv({ curves, metric }: SensitivityReport): string {
  const units = [...new Set(curves.flatMap(({ points }) => points.flatMap((p) => Object.keys(p.costs))))];
  const rows = curves.flatMap(({ layer, name, points }) =>
    points.map(({ sparsity, value, drop, costs }) => [
      ...[layer, name, sparsity, value, drop],
      ...units.map((u) => (costs as Record<string, number>)[u] ?? ''),
    ]),
  );
  return csv(['layer', 'weight', 'sparsity', metric.name, 'drop', ...units], rows);
}

export function csv(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cellOf = (value: string | number): string =>
    typeof value === 'string' && /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : String(value);
  return [head, ...rows].map((row) => `${row.map(cellOf).join(',')}\n`).join('');
}
