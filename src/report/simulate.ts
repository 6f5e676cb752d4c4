import type { SimulatedRow, SimulateReport } from '../run/simulate.ts';
import { bullets, bytes, number, percent, plural, withInterval } from './format.ts';
import { page } from './page/page.ts';
import { frontierChart } from './page/charts.ts';
import { alarms, charts, list, section } from './page/parts.ts';
import { escapeHtml as e } from './escape.ts';
import type { Paint } from './paint.ts';
import { csv, sensitivityHead } from './sensitivity.ts';
import { right, table } from './table.ts';

/** Rows of a simulation as a table: what is held how, bits, bytes and every metric. */
export function simulateText(report: SimulateReport, paint: Paint, width: number): string {
  const { model, rows, notes } = report;
  const names = metricNames(rows);
  const cells = rows.map((row) => [
    ...[row.weights, row.activations, String(row.bits), bytes(row.bytes), percent(row.bytes / model.bytes, 1)],
    ...names.map((name) => valueOf(row, name)),
  ]);
  const titles = [
    { title: 'weights' },
    { title: 'activations' },
    ...['bits', 'bytes', 'of float', ...names.map((name) => titleOf(rows, name))].map(right),
  ];
  const parts = [
    sensitivityHead(
      report,
      `${heldText(report)} held in the formats of a row; bytes are of the weights stored and packed`,
      paint,
      width,
    ),
    table(titles, cells, paint, width),
    bullets('notes', notes, paint, width),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

/** How many of the layers with weights. */
function heldText({ layers: { all, held } }: SimulateReport): string {
  return all === held ? 'all layers' : `${held} of ${plural(all, 'layer')}`;
}

const metricNames = (rows: readonly SimulatedRow[]): string[] => rows[0]?.metrics.map(({ name }) => name) ?? [];

function titleOf(rows: readonly SimulatedRow[], name: string): string {
  const unit = rows[0]?.metrics.find((metric) => metric.name === name)?.unit ?? '';
  return unit === '' ? name : `${name} ${unit}`;
}

function valueOf(row: SimulatedRow, name: string): string {
  const metric = row.metrics.find((one) => one.name === name);
  return metric === undefined ? '' : withInterval(metric.value, metric.interval, metric.unit);
}

/** One row a simulation: what spreadsheets and plotting programs read. */
export function simulateCsv({ rows }: SimulateReport): string {
  const names = metricNames(rows);
  return csv(
    ['weights', 'activations', 'bits', 'bytes', ...names],
    rows.map((row) => [
      ...[row.weights, row.activations, row.bits, row.bytes],
      ...names.map((name) => row.metrics.find((metric) => metric.name === name)?.value ?? ''),
    ]),
  );
}

/** Bytes against the first metric, as one HTML file that needs nothing else. */
export function simulatePage({ model, rows, data, notes, warnings }: SimulateReport): string {
  const name = model.path.split(/[\\/]/).at(-1) || 'model';
  const models = rows.flatMap((row, i) => {
    const [metric] = row.metrics;
    const label = row.activations === 'float' ? row.weights : `${row.weights}, activations ${row.activations}`;
    return metric ? [{ label, role: i === 0 ? ('float' as const) : ('tried' as const), bytes: row.bytes, metric }] : [];
  });
  const series = [
    { name: 'float', shape: 'square' as const, kind: 'plain', models: models.slice(0, 1) },
    { name: 'formats', shape: 'circle' as const, kind: 'good', models: models.slice(1) },
  ];
  const [metric = ''] = metricNames(rows);
  return page(
    `${name}: qtool simulate`,
    `<header>
<h1>${e(name)}</h1>
<p class="soft">${e(`${bytes(model.bytes)}, ${number(data.samples, '')} samples of ${data.source}`)}</p>
${alarms(warnings)}</header>
<main>
${section('formats', 'Formats', charts(frontierChart(`${titleOf(rows, metric)} over bytes`, series)))}
${notes.length === 0 ? '' : section('notes', 'Notes', list(notes))}
</main>`,
  );
}
