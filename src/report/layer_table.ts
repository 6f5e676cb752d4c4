import type { LayerReport } from '../run/report.ts';
import { hanging, number, shorten, wrap } from './format.ts';
import type { Paint } from './paint.ts';
import { gap, table, widthOf } from './table.ts';

/** Least room for a layer's name and for the reason beside it. */
const least = { name: 16, why: 24 };

/** One row a layer: what it runs as and how far its output is from float. Names are shortened and reasons wrapped to fit. */
export function layerTable(layers: readonly LayerReport[], paint: Paint, width: number): string {
  const owns = layers.some(({ own }) => own !== undefined);
  const cells = layers.map((layer) => [
    shorten(layer.op, width < 100 ? 12 : 18),
    shorten(layer.weights, 18),
    shorten(layer.activations, 11),
    dB(layer.sqnr),
    ...(owns ? [dB(layer.own)] : []),
    layer.kernel,
  ]);
  // SQNR counts all that earlier layers did; own is the layer's alone.
  const titles = ['op', 'weights', 'activations', 'SQNR dB', ...(owns ? ['own dB'] : []), 'kernel'];
  const free = width - widthOf(titles, cells) - gap;
  // Where there is no room beside the row, reasons stand below the table, so that no row breaks.
  const below = free < least.name + least.why;
  const explained = !below && layers.some((layer) => layer.why !== '');
  const longest = Math.max('layer'.length, ...layers.map((layer) => layer.layer.length));
  const nameWidth = Math.min(longest, 40, Math.max(least.name, explained ? free - least.why : free));
  const whyWidth = Math.max(least.why, free - nameWidth);
  const rows = layers.map((layer, i) => [
    shorten(layer.layer, nameWidth),
    ...(cells[i] ?? []).slice(0, -1),
    paintKernel(layer.kernel, paint),
    ...(explained ? [whyCell(layer.why, whyWidth, paint)] : []),
  ]);
  const columns = ['layer', ...titles, ...(explained ? ['why'] : [])].map((title) => ({
    title,
    align: title.endsWith(' dB') ? ('right' as const) : ('left' as const),
  }));
  return [table(columns, rows, paint, width), ...(below ? reasons(layers, paint, width) : [])].join('\n');
}

const dB = (value: number | undefined): string => (value === undefined ? '' : number(value, 'dB'));

/** Why layers are in float or gone, each reason once with its layers; of integer kernels only the names were told. */
function reasons(layers: readonly LayerReport[], paint: Paint, width: number): string[] {
  const found = new Map<string, string[]>();
  for (const { kernel, why, layer } of layers)
    if (kernel !== 'integer' && why !== '')
      found.set(`${kernel}: ${why}`, [...(found.get(`${kernel}: ${why}`) ?? []), layer]);
  return [...found].map(([why, [first = '', ...more]]) => {
    const others = more.length === 0 ? '' : ` and ${more.length} more`;
    return paint.dim(hanging('  ', `${why} (${shorten(first, 40)}${others})`, width));
  });
}

function whyCell(why: string, width: number, paint: Paint): string {
  if (why === '') return '';
  return wrap(why, width)
    .map((line) => paint.dim(line))
    .join('\n');
}

function paintKernel(kernel: LayerReport['kernel'], paint: Paint): string {
  if (kernel === 'integer') return paint.green(kernel);
  return kernel === 'float' ? paint.yellow(kernel) : paint.dim(kernel);
}
