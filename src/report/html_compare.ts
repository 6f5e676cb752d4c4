import type { RunReport } from '../run/report.ts';
import { escapeHtml as e } from './escape.ts';
import { bytes, dropText, duration, number, percent, plural, titleOf, withInterval } from './format.ts';
import { frontierChart } from './page/charts.ts';
import { measuredModels } from './page/models.ts';
import { page } from './page/page.ts';
import { cellOf, alarms, charts, htmlTable, named, section, type Cell, type Column } from './page/parts.ts';
import { shapes } from './page/svg.ts';
import { batchesOf, metricNamed, shownMetrics } from './summary.ts';

/** A run and what to call it: the name of its folder. */
export interface NamedRun {
  readonly name: string;
  readonly report: RunReport;
}

const kinds = ['good', 's3', 'fair', 's4', 'bad', 'plain'] as const;

/** Several runs on one page: a table that sorts, and all their models on one chart of size and quality for each metric they share. */
export function htmlComparison(runs: readonly NamedRun[]): string {
  const reports = runs.map(({ report }) => report);
  const metrics = sharedMetrics(reports);
  const frontiers = metrics.map((metric) =>
    frontierChart(
      `size and ${metric.name} of every model of every run`,
      runs.map(({ name, report }, i) => ({
        name,
        shape: shapes[i % shapes.length] ?? 'circle',
        kind: kinds[i % kinds.length] ?? 'plain',
        models: measuredModels(report, metric.name),
        origin: report.model.sha256,
      })),
    ),
  );
  const title = `qtool: ${plural(runs.length, 'run')} compared`;
  const body = `<header>
<h1>${e(title)}</h1>
${alarms(differences(reports))}</header>
<main>
${section('runs', 'Runs', runTable(runs, metrics))}
${section('frontier', 'Size and quality', charts(...frontiers))}
</main>`;
  return page(title, body);
}

/** Metrics that every run measured, those that gates stand on first. */
function sharedMetrics(reports: readonly RunReport[]): RunReport['baseline']['metrics'] {
  const first = reports[0];
  if (first === undefined) return [];
  const wanted = [...shownMetrics(first), ...first.baseline.metrics, ...first.result.measurement.metrics];
  const everywhere = wanted.filter(({ name }) =>
    reports.every(({ baseline, result }) => metricNamed(result.measurement, name) ?? metricNamed(baseline, name)),
  );
  return everywhere.filter((metric, i) => everywhere.findIndex(({ name }) => name === metric.name) === i).slice(0, 3);
}

/** What makes the numbers of these runs no comparison. */
function differences(reports: readonly RunReport[]): string[] {
  const several = (values: readonly unknown[]): boolean => new Set(values.map(String)).size > 1;
  const validation = reports.map(({ data: { validation: v } }) => `${v.source} ${v.samples}`);
  return [
    ...(several(reports.map(({ model }) => model.sha256)) ? ['the runs began with different float models'] : []),
    ...(several(validation) ? ['the runs were judged on different samples'] : []),
    ...(several(reports.map(({ tool }) => `${tool.cpu} ${tool.onnxruntime}`))
      ? ['the runs were measured on different machines or versions of onnxruntime: their speeds do not compare']
      : []),
  ];
}

function runTable(runs: readonly NamedRun[], metrics: RunReport['baseline']['metrics']): string {
  const batches = [...new Set(runs.flatMap(({ report }) => batchesOf(report)))].sort((a, b) => a - b);
  const severalModels = new Set(runs.map(({ report }) => report.model.path)).size > 1;
  // Of the others the value says it: they are measured against the float model anyway.
  const main = metrics.slice(0, 1).find(({ name }) =>
    runs.some(({ report }) => {
      const metric = metricNamed(report.result.measurement, name);
      return metric && dropText(metric) !== '';
    }),
  );
  const columns: Column[] = [
    { title: 'run' },
    ...(severalModels ? [{ title: 'model' }] : []),
    ...metrics.flatMap((metric) => [
      { title: titleOf(metric), number: true },
      ...(metric !== main ? [] : [{ title: `drop of ${metric.name}`, number: true }]),
    ]),
    { title: 'bytes', number: true },
    { title: 'of float', number: true },
    { title: 'gzip', number: true },
    ...batches.map((batch) => ({ title: `speed, batch ${batch}`, number: true })),
    { title: 'took', number: true },
    { title: 'status' },
  ];
  const rows = runs.map(({ name, report }): Cell[] => {
    const { result, model } = report;
    const measured = result.measurement;
    return [
      { html: named(name) },
      ...(severalModels ? [{ html: named(model.path.split(/[\\/]/).at(-1) ?? '') }] : []),
      ...metrics.flatMap((wanted) => {
        const metric = metricNamed(measured, wanted.name);
        const value = metric
          ? cellOf(withInterval(metric.value, metric.interval, metric.unit), metric.value)
          : cellOf('');
        return wanted !== main ? [value] : [value, metric ? cellOf(dropText(metric), metric.drop) : cellOf('')];
      }),
      cellOf(bytes(measured.bytes), measured.bytes),
      cellOf(percent(measured.bytes / model.bytes), measured.bytes / model.bytes),
      result.gzip > 0 ? cellOf(bytes(result.gzip), result.gzip) : cellOf(''),
      ...batches.map((batch) => {
        const latency = measured.latency.find((one) => one.batch === batch);
        return latency ? cellOf(`${number(latency.ratio, '%')}×`, latency.ratio) : cellOf('');
      }),
      cellOf(duration(report.seconds), report.seconds),
      cellOf(result.status),
    ];
  });
  return htmlTable(columns, rows, { sortable: true });
}
