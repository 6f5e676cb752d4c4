import type { ActivationSpread, LayerReport, RunReport, WeightSpread } from '../../run/report.ts';
import { escapeHtml as e } from '../escape.ts';
import { bytes, grouped, number, percent } from '../format.ts';
import { layerTarget, toneOf } from './charts.ts';
import { bodyCell, cellOf, definitions, figure, headCell, named, type Cell, type Column } from './parts.ts';
import { key, line, picture, px, rect, text } from './svg.ts';

/** Pages of more layers draw histograms of those only whose output is farthest from float: the file stays small. */
const mostDrawn = 400;

interface Field extends Column {
  readonly cell: (layer: LayerReport, index: number) => Cell;
}

/** The table of layers: each row opens to all that is known of its layer. */
export function layersTable({ layers }: RunReport): string {
  if (layers.length === 0) return '';
  const owns = layers.some((layer) => layer.own !== undefined);
  const sized = layers.some((layer) => layer.bytes !== undefined);
  const name = ({ layer }: LayerReport, i: number): Cell => ({
    html: `<button type="button" class="open" aria-expanded="false" aria-controls="${layerTarget(i)}-more">${named(layer)}</button>`,
  });
  const sizes: Field[] = [
    { title: 'bytes', number: true, rank: 1, cell: (layer) => sizeCell(layer.bytes, bytes) },
    { title: 'MACs', number: true, rank: 2, cell: (layer) => sizeCell(layer.macs, short) },
  ];
  const columns: Field[] = [
    { title: '#', number: true, rank: 2, cell: (_, i) => cellOf(String(i + 1)) },
    { title: 'layer', cell: name },
    { title: 'op', rank: 2, cell: ({ op }) => cellOf(op) },
    { title: 'weights', rank: 1, cell: ({ weights }) => cellOf(weights) },
    { title: 'activations', rank: 2, cell: ({ activations }) => cellOf(activations) },
    ...(sized ? sizes : []),
    ...(owns ? [{ title: 'own dB', number: true, cell: ({ own }: LayerReport) => decibelCell(own) }] : []),
    { title: 'SQNR dB', number: true, cell: ({ sqnr }) => decibelCell(sqnr) },
    { title: 'kernel', cell: ({ kernel }) => ({ html: `<span class="tag ${e(kernel)}">${e(kernel)}</span>` }) },
  ];
  const drawn = drawnLayers(layers);
  const bodies = layers.map((layer, i) => {
    const target = layerTarget(i);
    const row = columns.map((column) => bodyCell(column.cell(layer, i), column)).join('');
    const from = layers.findIndex((other) => other.layer === layer.input);
    const more = layerDetail(layer, drawn.has(layer), from < 0 ? undefined : { layer: layers[from]!, target: layerTarget(from) }); // prettier-ignore
    return `<tbody id="${target}" data-kernel="${e(layer.kernel)}"><tr class="row">${row}</tr>\n<tr class="more" id="${target}-more"><td colspan="${columns.length}">${more}</td></tr></tbody>`;
  });
  const kernels = [...new Set(layers.map((layer) => layer.kernel))];
  const choices = kernels.map((kernel) => `<option value="${e(kernel)}">${e(kernel)}</option>`).join('');
  return `<div class="controls">
<label>filter <input type="search" id="filter" placeholder="name, operator, type, reason" autocomplete="off"></label>
<label>kernel <select id="kernel"><option value="">all</option>${choices}</select></label>
<button type="button" id="all">open all</button>
<output id="shown" aria-live="polite"></output>
</div>
<table class="layers sortable" id="layer-table">
<thead><tr>${columns.map((column) => headCell(column, true)).join('')}</tr></thead>
${bodies.join('\n')}
</table>`;
}

function drawnLayers(layers: readonly LayerReport[]): ReadonlySet<LayerReport> {
  if (layers.length <= mostDrawn) return new Set(layers);
  return new Set([...layers].sort((a, b) => (a.sqnr ?? Infinity) - (b.sqnr ?? Infinity)).slice(0, mostDrawn));
}

function sizeCell(value: number | undefined, words: (value: number) => string): Cell {
  return value === undefined ? cellOf('') : cellOf(words(value), value);
}

function decibelCell(value: number | undefined): Cell {
  if (value === undefined) return cellOf('');
  return { html: `<span class="ink-${toneOf(value)}">${e(number(value, 'dB'))}</span>`, value };
}

/** `2.36 M`. */
function short(count: number): string {
  return count < 1000 ? String(count) : bytes(count).replace('kB', 'k').replace('MB', 'M').replace('GB', 'G');
}

function layerDetail(
  layer: LayerReport,
  draw: boolean,
  from: { readonly layer: LayerReport; readonly target: string } | undefined,
): string {
  const known = (title: string, text: string | undefined): [string, string][] =>
    text === undefined || text === '' ? [] : [[title, text]];
  const share =
    layer.bytes !== undefined && layer.floatBytes ? `, ${percent(layer.bytes / layer.floatBytes)} of float's` : '';
  const facts = definitions([
    ['operator', layer.op],
    ...known('weights', layer.shape && `[${layer.shape.join(', ')}] ${layer.weights}`),
    ...known('output', layer.output && `[${layer.output.join(', ')}] ${layer.activations}`),
    ...known('parameters', layer.parameters === undefined ? undefined : grouped(layer.parameters)),
    ...known('MACs', layer.macs === undefined ? undefined : `${grouped(layer.macs)} a sample`),
    ...known('bits a weight', layer.bits === undefined ? undefined : String(layer.bits)),
    ...known('bytes', layer.bytes === undefined ? undefined : `${grouped(layer.bytes)}${layer.floatBytes === undefined ? '' : `, float ${grouped(layer.floatBytes)}`}${share}`), // prettier-ignore
    ...known('own error', layer.own === undefined ? undefined : `${number(layer.own, 'dB')} dB: by its own rounding`),
    ...known('inherited', layer.inherited === undefined ? undefined : `${number(layer.inherited, 'dB')} dB: by what earlier layers did to its inputs`), // prettier-ignore
    ...known('at its output', layer.sqnr === undefined ? undefined : `${number(layer.sqnr, 'dB')} dB: with all that comes before it`), // prettier-ignore
    ['kernel', layer.kernel],
    ...known('reason', layer.why),
  ]);
  const pictures = draw
    ? [
        from?.layer.activationSpread &&
          activationPicture(from.layer.activationSpread, `input, the float output of ${from.layer.layer},`, `histogram of the input`), // prettier-ignore
        layer.weightSpread && weightPicture(layer.weightSpread),
        layer.activationSpread && activationPicture(layer.activationSpread),
      ]
    : [];
  const link = from === undefined ? '' : `<p class="soft">reads <a href="#${from.target}">${named(from.layer.layer)}</a></p>`; // prettier-ignore
  return `<div class="detail"><div>${facts}${link}</div>${pictures.filter((one) => one !== undefined).join('\n')}</div>`;
}

const [width, height, base] = [320, 130, 104];

function weightPicture(spread: WeightSpread): string {
  const { low, high, float, quantized, range, clipped, rescaled } = spread;
  const most = Math.max(1, ...float, ...(quantized ? [...quantized] : []));
  const body =
    area(float, most, 'was') +
    (quantized ? outline(quantized, most, 'is') : '') +
    ends(low, high) +
    limits(low, high, rescaled ? undefined : range);
  const lost = rescaled ? ', of another scale by equalization' : clippedText(clipped);
  const held = range ? `; stored ${digits(range[0])} to ${digits(range[1])}${lost}` : '';
  const keys = [
    key('float', rect(1, 3, 12, 10, 'was')),
    ...(quantized ? [key('stored', line(1, 7, 13, 7, 'is'))] : []),
  ];
  return figure(`weights ${digits(low)} to ${digits(high)}${held} (heights: logarithm of the count)`, picture('histogram of the weights', width, height, body), keys); // prettier-ignore
}

function activationPicture(
  { low, high, counts, range, clipped }: ActivationSpread,
  what = 'float output',
  title = 'histogram of the output',
): string {
  // What cannot be reached is part of the picture: the axis takes in both.
  const body = area(counts, Math.max(1, ...counts), 'was') + ends(low, high) + limits(low, high, range);
  const lost = clippedText(clipped);
  const held = range ? `; held ${digits(range[0])} to ${digits(range[1])}${lost}` : '';
  return figure(`${what} ${digits(low)} to ${digits(high)}${held} (heights: logarithm of the count)`, picture(title, width, height, body)); // prettier-ignore
}

function clippedText(clipped: number | undefined): string {
  if (clipped === undefined) return '';
  return clipped === 0 ? ', none clipped' : `, ${percent(clipped, clipped < 0.001 ? 3 : 1)} clipped`;
}

const digits = (value: number): string => String(Number(value.toPrecision(3)));

/** Tails are what clipping is about, and only logarithms show them beside the middle. */
function heightOf(count: number, most: number): number {
  return count <= 0 ? 0 : (Math.log1p(count) / Math.log1p(most)) * (base - 10);
}

const stepsOf = (counts: readonly number[], most: number): string =>
  counts.map((count) => `V${px(base - heightOf(count, most))}h${px(width / counts.length)}`).join('');

function area(counts: readonly number[], most: number, kind: string): string {
  return `<path class="${kind}" d="M0 ${base}${stepsOf(counts, most)}V${base}Z"/>`;
}

function outline(counts: readonly number[], most: number, kind: string): string {
  return `<path class="${kind}" d="M0 ${base}${stepsOf(counts, most)}V${base}"/>`;
}

function ends(low: number, high: number): string {
  return (
    line(0, base, width, base, 'grid') +
    text(0, base + 16, digits(low)) +
    text(width, base + 16, digits(high), 'end') +
    (low < 0 && high > 0 && Math.min(-low, high) > (high - low) * 0.15
      ? text((-low / (high - low)) * width, base + 16, '0', 'mid')
      : '')
  );
}

/** The ends of what the quantized model holds, where they lie within the picture, and what is lost beyond them. */
function limits(low: number, high: number, range: readonly [number, number] | undefined): string {
  if (range === undefined || high <= low) return '';
  const at = (value: number): number => ((value - low) / (high - low)) * width;
  const [from, to] = [Math.max(0, at(range[0])), Math.min(width, at(range[1]))];
  return (
    (from > 0.5 ? rect(0, 4, from, base - 4, 'lost') + line(from, 4, from, base, 'limit') : '') +
    (to < width - 0.5 ? rect(to, 4, width - to, base - 4, 'lost') + line(to, 4, to, base, 'limit') : '')
  );
}
