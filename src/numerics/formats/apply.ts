import { QtoolError } from '../../util/error.ts';
import { checkFinite } from '../finite.ts';
import { fromFloat16, toFloat16 } from '../float16.ts';
import type { Granularity } from '../format.ts';
import { scaledGrid, stretchedLevel, type Grid } from '../grid.ts';
import { forEachOfGroup, gatherGroup, groupSize, layoutOf, type Layout } from '../layout.ts';
import type { BoundFormat, Fitted, Sharing } from './format.ts';
import { largestOf } from './scale.ts';

/** A weight as the rows that its layer sees. `kernel` are its trailing axes (rows and columns of a kernel): [] for a matrix. */
export interface Rows {
  readonly data: Float32Array;
  readonly rows: number;
  readonly columns: number;
  readonly kernel: readonly number[];
}

/** Rows as codes of a format, and each group's parameters in the order of `layout`. */
export interface FormatCodes {
  readonly format: BoundFormat;
  readonly sharing: Sharing;
  readonly layout: Layout;
  /** [rows · columns]; code i of a group stands for level i of its grid. */
  readonly codes: Uint16Array;
  readonly groups: readonly Fitted[];
  /** What the codes stand for. */
  readonly values: Float32Array;
}

/** How `layoutOf` sees rows whose parameters are shared so. */
function layoutOfSharing({ rows, columns, kernel }: Omit<Rows, 'data'>, sharing: Sharing): Layout {
  const pixels = kernel.reduce((a, b) => a * b, 1);
  const [dims, granularity] = ((): [number[], Granularity] => {
    if (typeof sharing === 'object')
      return [[rows, columns], { per: 'group', axis: 1, size: Math.min(sharing.group, columns) }];
    if (sharing === 'tensor') return [[rows, columns], { per: 'tensor' }];
    if (sharing === 'channel') return [[rows, columns], { per: 'channel', axis: 0 }];
    if (sharing === 'pixel') return [[(rows * columns) / pixels, pixels], { per: 'channel', axis: 1 }];
    const [height = 1] = kernel;
    return [[(rows * columns) / pixels, height, pixels / height], { per: 'channel', axis: 1 }];
  })();
  return layoutOf(dims, granularity);
}

/**
 * Fits a format to a weight and rounds it, each group by itself.
 *
 * @param importance what an error in each column, or each weight, counts.
 * @throws QtoolError `data` naming `at` if an element is NaN or infinite, `schedule` if the format is not for weights.
 */
export function formatCodes(
  format: BoundFormat,
  weight: Rows,
  o: { readonly sharing?: Sharing | undefined; readonly importance?: Float32Array | undefined; readonly at?: string },
): FormatCodes {
  const { data, columns } = weight;
  if (format.notWeights !== undefined)
    throw new QtoolError('schedule', `${format.name} cannot hold weights: ${format.notWeights}`, { at: o.at });
  checkFinite(data, o.at);
  const sharing = o.sharing ?? format.sharing;
  const layout = layoutOfSharing(weight, sharing);
  const largest = largestOf(data);
  const importance = o.importance?.length === columns && columns !== data.length ? o.importance : undefined;
  const full = importance ? Float32Array.from(data, (_, i) => importance[i % columns]!) : o.importance;
  const room = groupSize(layout);
  const [values, weights] = [new Float32Array(room), new Float32Array(full ? room : 0)];
  const groups: Fitted[] = [];
  for (let p = 0; p < layout.params; p++) {
    const count = gatherGroup(data, layout, p, values);
    if (full) gatherGroup(full, layout, p, weights);
    const look = { signed: true, largest, importance: full && weights.subarray(0, count) };
    const { set, scale } = format.fit(values.subarray(0, count), look);
    groups.push({ set, scale: format.exactScale ? scale : halfScale(scale) });
  }
  return { format, sharing, layout, groups, ...coded(format, data, layout, groups) };
}

/** The nearest float16 number, if it is a normal one: what an error of 2^-11 of the scale costs is far below that of the codes. */
export function halfScale(scale: number): number {
  return scale >= 2 ** -14 && scale <= 65504 ? fromFloat16(toFloat16(Float32Array.of(scale)))[0]! : scale;
}

/** The codes, and what they stand for, of data in groups whose parameters are known. */
function coded(
  format: BoundFormat,
  data: Float32Array,
  layout: Layout,
  groups: readonly Fitted[],
): { readonly codes: Uint16Array; readonly values: Float32Array } {
  const codes = new Uint16Array(data.length);
  const rounded = new Float32Array(data.length);
  const values = new Float32Array(groupSize(layout));
  for (const [p, fitted] of groups.entries()) {
    const { set, scale } = fitted;
    const count = gatherGroup(data, layout, p, values);
    const own = format.codes(values.subarray(0, count), fitted, p);
    let n = 0;
    forEachOfGroup(layout, p, (start, length) => {
      for (let i = start; i < start + length; i++, n++)
        rounded[i] = stretchedLevel(set.levels[(codes[i] = own[n]!)]!, scale);
    });
  }
  return { codes, values: rounded };
}

/** The values that a group may take. */
export const gridOf = ({ set, scale }: Fitted): Grid => scaledGrid(set, scale);
