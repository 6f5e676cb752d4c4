import { codeOf, roundTo, type Grid } from '../../../src/numerics/grid.ts';
import { gridOf } from '../../../src/numerics/formats/apply.ts';
import type { BoundFormat, Look } from '../../../src/numerics/formats/format.ts';
import { largestOf } from '../../../src/numerics/formats/scale.ts';
import { writtenFormat } from '../../../src/numerics/formats/written.ts';

export const written = (text: string): BoundFormat => writtenFormat.parse(text);

/** The grid of one group of values. */
export function gridFor(format: BoundFormat | string, values: Iterable<number>, look: Partial<Look> = {}): Grid {
  const all = Float32Array.from(values);
  const bound = typeof format === 'string' ? written(format) : format;
  return gridOf(bound.fit(all, { signed: true, largest: largestOf(all), ...look }));
}

export const levelsOf = (format: string, values: Iterable<number>, look: Partial<Look> = {}): number[] => [
  ...gridFor(format, values, look).levels,
];

/** What values become in the grid that is fitted to them. */
export function rounded(format: string, values: Iterable<number>, look: Partial<Look> = {}): number[] {
  const all = [...values];
  const grid = gridFor(format, all, look);
  return all.map((x) => roundTo(grid, Math.fround(x)));
}

/** Whether a grid rounds x as near as any level is. */
export const isNearest = (grid: Grid, x: number): boolean => {
  const off = Math.abs(x - grid.levels[codeOf(grid, x)]!);
  return grid.levels.every((level) => Math.abs(x - level) >= off);
};

export function squaredError(values: ArrayLike<number>, of: (x: number) => number, w?: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (w?.[i] ?? 1) * (values[i]! - of(values[i]!)) ** 2;
  return sum;
}
