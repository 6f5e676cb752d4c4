import type { LayerReport } from '../run/report.ts';
import { distinct, hanging, number, shorten, wrap } from './format.ts';
import type { Paint } from './paint.ts';
import { gap, table, widthOf } from './table.ts';

/** Least room for a layer's name and for the reason beside it. */
const least = { name: 16, why: 24 };

/**
 * One row a layer: what it runs as and how far its output is from float. Names are shortened, to selectors that mean no other layer of `among`, and
 * reasons wrapped to fit.
 */
export function layerTable(
  layers: readonly LayerReport[],
  paint: Paint,
  width: number,
  among: readonly LayerReport[] = layers,
): string {
  const owns = layers.some(({ own }) => own !== undefined);
  // SQNR counts all that earlier layers did; own is the layer's alone.
  const all: readonly Shown[] = [
    { title: 'op', of: ({ op }) => shorten(op, width < 100 ? 12 : 18) },
    { title: 'weights', of: ({ weights }) => shorten(weights, 18) },
    { title: 'activations', of: ({ activations }) => shorten(activations, 11) },
    { title: 'SQNR dB', of: ({ sqnr }) => dB(sqnr) },
    ...(owns ? [{ title: 'own dB', of: ({ own }: LayerReport) => dB(own) }] : []),
    { title: 'kernel', of: ({ kernel }) => kernel },
  ];
  const roomBeside = (some: readonly Shown[]): number => width - widthOf(some.map(({ title }) => title), layers.map((layer) => some.map(({ of }) => of(layer)))) - gap; // prettier-ignore
  // Where not all columns fit, those that are the same for every layer say it in a line.
  const same = ({ of }: Shown): boolean => layers.length > 2 && layers.every((layer) => of(layer) === of(layers[0]!));
  const tight = roomBeside(all) < least.name;
  const shown = tight ? all.filter((column) => !same(column)) : all;
  const told = all.filter((column) => !shown.includes(column) && column.of(layers[0]!) !== '').map(({ title, of }) => `${title} ${of(layers[0]!)}`); // prettier-ignore
  const free = roomBeside(shown);
  // Where there is no room beside the row, reasons stand below the table, so that no row breaks.
  const below = free < least.name + least.why;
  const explained = !below && layers.some((layer) => layer.why !== '');
  const longest = Math.max('layer'.length, ...layers.map((layer) => layer.layer.length));
  const nameWidth = Math.min(longest, 40, Math.max(least.name, explained ? free - least.why : free));
  const whyWidth = Math.max(least.why, free - nameWidth);
  const names = distinct(layers.map(({ layer }) => layer), nameWidth, among.map(({ layer }) => layer)); // prettier-ignore
  const rows = layers.map((layer, i) => [
    names[i] ?? '',
    ...shown.map(({ title, of }) => (title === 'kernel' ? paintKernel(layer.kernel, paint) : of(layer))),
    ...(explained ? [whyCell(layer.why, whyWidth, paint)] : []),
  ]);
  const columns = ['layer', ...shown.map(({ title }) => title), ...(explained ? ['why'] : [])].map((title) => ({
    title,
    align: title.endsWith(' dB') ? ('right' as const) : ('left' as const),
  }));
  const common = told.length === 0 ? [] : [paint.dim(hanging('  ', `all of them: ${told.join(', ')}`, width))];
  return [table(columns, rows, paint, width), ...common, ...(below ? reasons(layers, paint, width) : [])].join('\n');
}

interface Shown {
  readonly title: string;
  readonly of: (layer: LayerReport) => string;
}

const dB = (value: number | undefined): string => (value === undefined ? '' : number(value, 'dB'));

/** Why layers are in float or gone, each reason once with its layers; of integer kernels only that there was no room. */
function reasons(layers: readonly LayerReport[], paint: Paint, width: number): string[] {
  const found = new Map<string, string[]>();
  for (const { kernel, why, layer } of layers)
    if (kernel !== 'integer' && why !== '')
      found.set(`${kernel}: ${why}`, [...(found.get(`${kernel}: ${why}`) ?? []), layer]);
  const integer = layers.some(({ kernel, why }) => kernel === 'integer' && why !== '');
  const left = integer ? ['no room for the column why; a wider terminal has it, and --json'] : [];
  return [
    ...[...found].map(([why, [first = '', ...more]]) => {
      const others = more.length === 0 ? '' : ` and ${more.length} more`;
      return `${why} (${shorten(first, 40)}${others})`;
    }),
    ...left,
  ].map((text) => paint.dim(hanging('  ', text, width)));
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
