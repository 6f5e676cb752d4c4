import type { LayerCurve, SensitivityReport, SensitivitySolution } from '../run/sensitivity.ts';
import { bullets, bytes, hanging, number, percent, plural } from './format.ts';
import type { Paint } from './paint.ts';
import { right, table } from './table.ts';

/** The drop of the metric for every layer and sparsity, and the levels that meet the target, with the YAML to paste. */
export function sensitivityText(report: SensitivityReport, paint: Paint, width: number): string {
  const { model, data, metric, curves, solution } = report;
  const source = data.kind === 'random' ? 'random input' : data.source;
  const head = [
    hanging('model  ', `${model.path}: ${bytes(model.bytes)}`, width),
    hanging('data   ', `${source}: ${plural(data.samples, 'sample')}`, width),
    hanging('class  ', `${report.class}, each layer alone; ${dropTitle(report)}`, width),
  ];
  const levels = [...new Set(curves.flatMap(({ points }) => points.map((p) => p.sparsity)))].sort((a, b) => a - b);
  const rows = curves.map((curve) => [curve.layer, ...levels.map((level) => cell(curve, level, metric.unit))]);
  const columns = [{ title: 'layer' }, ...levels.map((level) => right(percent(level, 0)))];
  const parts = [
    head.map((line) => paint.dim(line)).join('\n'),
    table(columns, rows, paint),
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

/** One row a point: what spreadsheets and plotting programs read. */
export function sensitivityCsv({ curves, metric }: SensitivityReport): string {
  const units = [...new Set(curves.flatMap(({ points }) => points.flatMap((p) => Object.keys(p.costs))))];
  const quoted = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const rows = curves.flatMap(({ layer, name, points }) =>
    points.map(({ sparsity, value, drop, costs }) =>
      [
        quoted(layer),
        quoted(name),
        sparsity,
        value,
        drop,
        ...units.map((u) => (costs as Record<string, number>)[u] ?? ''),
      ].join(','),
    ),
  );
  return [['layer', 'weight', 'sparsity', metric.name, 'drop', ...units].join(','), ...rows, ''].join('\n');
}
