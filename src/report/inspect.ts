import type { LayerCost } from '../analyze/cost.ts';
import type { ModelInput } from '../graph/query.ts';
import { bullets, bytes, distinct, grouped, hanging, percent, plural, shorten } from './format.ts';
import type { Paint } from './paint.ts';
import { right, table, widthOf } from './table.ts';

/** What `qtool inspect` found out: plain data, printed as text or JSON. */
export interface InspectReport {
  readonly format: 1;
  readonly path: string;
  readonly bytes: number;
  readonly ir: number;
  readonly producer: string;
  /** Operator domain → version; '' is ONNX's own. */
  readonly opsets: Readonly<Record<string, number>>;
  readonly inputs: readonly ModelInput[];
  readonly outputs: readonly ModelInput[];
  readonly params: number;
  /** Multiply-accumulates for one sample. */
  readonly macs: number;
  /** Share of zeros among all weights, 0 to 1; missing where they were not counted. */
  readonly zeros?: number | undefined;
  readonly layers: readonly LayerCost[];
  /** Operator → how many nodes. */
  readonly ops: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

export function inspectText(report: InspectReport, paint: Paint, width: number): string {
  const parts = [
    head(report, width),
    layerRows(report.layers, paint, width),
    totals(report, paint, width),
    bullets('notes', report.notes, paint, width),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

function head(report: InspectReport, width: number): string {
  const opsets = Object.entries(report.opsets).map(([domain, version]) =>
    domain === '' ? `opset ${version}` : `${domain} ${version}`,
  );
  const from = report.producer === '' ? '' : `, made by ${report.producer}`;
  return [
    hanging('model    ', `${report.path}: ${bytes(report.bytes)}, ${opsets.join(', ')}, IR ${report.ir}${from}`, width),
    ...report.inputs.map((port) => hanging('input    ', portText(port), width)),
    ...report.outputs.map((port) => hanging('output   ', portText(port), width)),
  ].join('\n');
}

const portText = ({ name, type, dims }: ModelInput): string =>
  `${name}: ${type} ${dims === undefined ? 'of any shape' : `[${dims.join(', ')}]`}`;

function layerRows(layers: readonly LayerCost[], paint: Paint, width: number): string {
  if (layers.length === 0) return 'no layer has weights';
  const cells = layers.map((layer) => [
    shorten(layer.op, 20),
    layer.output === undefined ? '?' : layer.output.map((dim) => (dim === '' ? '?' : dim)).join('×'),
    grouped(layer.params),
    layer.macs === undefined ? '?' : grouped(layer.macs),
    bytes(layer.bytes),
    layer.zeros === undefined ? '' : percent(layer.zeros),
  ]);
  const titles = ['op', 'output', 'params', 'MACs', 'bytes', 'zeros'];
  const room = Math.max(16, width - widthOf(titles, cells));
  const names = distinct(layers.map(({ layer }) => layer), room); // prettier-ignore
  const columns = [{ title: 'layer' }, { title: 'op' }, { title: 'output' }, ...titles.slice(2).map(right)];
  return table(
    columns,
    cells.map((row, i) => [names[i] ?? '', ...row]),
    paint,
  );
}

function totals(report: InspectReport, paint: Paint, width: number): string {
  const ops = Object.entries(report.ops)
    .sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))
    .map(([op, count]) => (count === 1 ? op : `${op} ×${count}`));
  const sum =
    `${grouped(report.params)} parameters, ${grouped(report.macs)} multiply-accumulates a sample` +
    (report.zeros === undefined ? '' : `, ${percent(report.zeros)} of the weights are zero`);
  const nodes = Object.values(report.ops).reduce((a, b) => a + b, 0);
  return [
    paint.bold(hanging('total    ', sum, width)),
    hanging('nodes    ', `${plural(nodes, 'node')}: ${ops.join(', ')}`, width),
  ].join('\n');
}
