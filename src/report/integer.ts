import type { Difference } from '../analyze/integer/differences.ts';
import type { Energy } from '../numerics/energy.ts';
import type { LayerBits } from '../analyze/integer/layer_bits.ts';
import type { IntegerFindings, IntegerRun } from '../analyze/integer/verify.ts';
import type { DatasetInfo } from '../data/types.ts';
import {
  bullets,
  bytes,
  datasetText,
  distinct,
  grouped,
  hanging,
  number,
  percent,
  plural,
  shorten,
  titleOf,
} from './format.ts';
import type { Paint } from './paint.ts';
import { right, table, widthOf } from './table.ts';

/** What `qtool verify-integer` found: plain data. */
export interface IntegerReport extends IntegerFindings {
  readonly format: 1;
  readonly model: { readonly path: string; readonly bytes: number };
  readonly data: DatasetInfo;
  /** Overrides for a quantizer of the schedule that keep sums of two products within 16 bits; empty where none saturated. */
  readonly overrides: string;
  readonly notes: readonly string[];
}

/** The layers whose pair sums saturated, as overrides to paste. */
export function bitsOverrides(layers: readonly LayerBits[]): string {
  const wrong = layers.filter(({ saturated }) => saturated > 0);
  const lines = wrong.map(({ layer }) => `  '${layer.replace(/'/g, "''")}': { bits_weights: 7 }`);
  return wrong.length === 0 ? '' : ['overrides:', ...lines].join('\n');
}

/** That sums leave int32, whose wrapped remainders every run then works on; nothing where none does. */
export function wrapNotes(layers: readonly LayerBits[]): string[] {
  const wide = layers.filter(({ seen }) => seen > 32);
  if (wide.length === 0) return [];
  const list = wide.map(({ layer, seen }) => `${layer} (${seen} bits)`).join(', ');
  return [
    `sums leave int32 and wrap in ${list}: the requantizations work on what is left of them; quantize to fewer bits`,
  ];
}

export function integerText(report: IntegerReport, paint: Paint, width: number): string {
  const { model, data, runs, layers, float, notes } = report;
  const head = [
    hanging('model   ', `${model.path}: ${bytes(model.bytes)}`, width),
    hanging('data    ', datasetText(data), width),
  ];
  const islands = float.map(({ layer, op, why }) => `${shorten(layer, 60)} (${op}): ${why}`);
  const parts = [
    head.map((line) => paint.dim(line)).join('\n'),
    runTable(runs, paint, width),
    bullets('first difference', firstTexts(runs), paint, width),
    bullets('what the runs are', runs.map(({ name, summary }) => `${name}: ${summary}`), paint, width), // prettier-ignore
    bitsTable(report, paint, width),
    pairsText(layers, report.overrides, paint, width),
    energyTable(report.energy, paint, width),
    bullets('in float', islands.slice(0, shown), paint, width),
    islands.length > shown ? `  - and ${plural(islands.length - shown, 'more operator')}: --json lists all` : '',
    bullets('notes', notes, paint, width),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

/** Operators that are listed one by one. */
const shown = 20;

function runTable(runs: readonly IntegerRun[], paint: Paint, width: number): string {
  const [first] = runs;
  const metrics = first?.metrics ?? [];
  const columns = [
    { title: 'requantization' },
    ...metrics.map((metric) => right(titleOf(metric))),
    ...[right('codes unlike off'), right('steps'), right('unlike all'), right('steps')],
  ];
  const rows = runs.map((run) => {
    if (run.refused !== undefined) return [run.name, 'refused'];
    const values = metrics.map(({ name }) => run.metrics.find((metric) => metric.name === name));
    return [
      run.name,
      ...values.map((metric) => (metric === undefined ? '' : number(metric.value, metric.unit))),
      ...differenceCells(run.disabled),
      ...differenceCells(run.all),
    ];
  });
  return table(columns, rows, paint, width);
}

function differenceCells(difference: Difference | undefined): readonly [string, string] {
  if (difference === undefined) return ['', ''];
  const { differ, values, steps } = difference;
  const share = values === 0 ? 0 : differ / values;
  return [differ === 0 ? 'none' : share < 0.00005 ? `${grouped(differ)} codes` : percent(share, 2), String(steps)];
}

function firstTexts(runs: readonly IntegerRun[]): string[] {
  return runs.flatMap(({ name, refused, disabled }) => {
    if (refused !== undefined) return [`${name} cannot hold the model: ${refused}`];
    const first = disabled?.first;
    if (first === undefined) return [];
    return [
      `${name}: ${shorten(first.layer, 60)} (${first.op}), ${grouped(first.differ)} of ${grouped(first.values)} codes`,
    ];
  });
}

function bitsTable({ layers, accumulator }: IntegerReport, paint: Paint, width: number): string {
  const titles = [
    'layer',
    'terms',
    'seen',
    'any order',
    'worst',
    'rule',
    ...(accumulator === undefined ? [] : [`outside ${accumulator}`]),
  ];
  const rows = layers.map((one) => [
    one.layer,
    one.terms === 0 ? '' : grouped(one.terms),
    String(one.seen),
    one.partial === undefined ? '' : String(one.partial),
    one.worst === undefined ? '' : String(one.worst),
    one.terms === 0 ? '' : one.rule.toFixed(1),
    ...(accumulator === undefined ? [] : [one.outside === 0 ? '0' : percent(one.outside / one.sums, 3)]),
  ]);
  const room = Math.max(12, width - widthOf(titles, rows, 0));
  const names = distinct(layers.map(({ layer }) => layer), room); // prettier-ignore
  const cells = rows.map(([, ...rest], i) => [names[i] ?? '', ...rest]);
  const legend = hanging('', 'Bits of a signed accumulator: seen holds every finished sum of this data with its bias, any order every partial sum too, worst whatever data may come; rule is 2n + log2(c·k²).', width); // prettier-ignore
  const columns = titles.map((title, i) => (i === 0 ? { title } : right(title)));
  return [paint.bold('accumulators'), table(columns, cells, paint, width), legend].join('\n');
}

function pairsText(layers: readonly LayerBits[], overrides: string, paint: Paint, width: number): string {
  const wrong = layers.filter(({ saturated }) => saturated > 0);
  if (wrong.length === 0) return '';
  const most = [...wrong].sort((a, b) => b.saturated / b.pairs - a.saturated / a.pairs).slice(0, shown);
  const texts = most.map(({ layer, saturated, pairs }) => `${shorten(layer, 50)}: ${grouped(saturated)} sums of two products, ${percent(saturated / pairs, 4)}`); // prettier-ignore
  return [
    bullets('would saturate at 16 bits on x64 without VNNI', texts, paint, width),
    hanging('  ', 'for the quantizer of the schedule, so that they cannot:', width),
    overrides.replace(/^/gm, '    '),
  ].join('\n');
}

function energyTable({ integer, float }: IntegerReport['energy'], paint: Paint, width: number): string {
  const row = (title: string, of: keyof Energy): string[] => {
    const ratio = integer[of] === 0 ? '' : `${(float[of] / integer[of]).toFixed(1)}×`;
    return [title, number(integer[of], ''), number(float[of], ''), ratio];
  };
  const columns = [{ title: 'energy a sample, µJ (45 nm)' }, right('integer'), right('float32'), right('less')];
  const rows = [
    row('arithmetic', 'arithmetic'),
    row('weights from DRAM, once', 'weights'),
    row('activations in SRAM, once', 'activations'),
    row('all', 'total'),
  ];
  return table(columns, rows, paint, width);
}
