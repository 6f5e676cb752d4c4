import { sqnr } from '../../../src/numerics/error.ts';
import { formatCodes } from '../../../src/numerics/formats/apply.ts';
import { codeOf, roundTo } from '../../../src/numerics/grid.ts';
import { gaussian } from '../samples.ts';
import { gridFor, levelsOf, written } from './support.ts';

/** The positive posits at scale 1: the largest value is the largest posit. */
const positive = (options: string, largest: number): number[] =>
  levelsOf(`posit:${options},scale=max`, [largest]).filter((l) => l > 0);

it('has the posits of the standard and of the papers', () => {
  // ⟨5, 1⟩ of Gustafson and Yonemoto, useed 4.
  expect(positive('bits=5,es=1', 64)).toEqual([
    1 / 64,
    1 / 16,
    1 / 8,
    1 / 4,
    3 / 8,
    1 / 2,
    3 / 4,
    1,
    1.5,
    2,
    3,
    4,
    8,
    16,
    64,
  ]);
  expect(positive('bits=4,es=0', 4)).toEqual([0.25, 0.5, 0.75, 1, 1.5, 2, 4]);
  // posit8: 2^−24 … 2^24, 1 in the middle of the codes, three bits of fraction beside it.
  const eight = positive('bits=8', 2 ** 24);
  expect([eight.length, eight[0], eight.at(-1), eight[63], eight[64]]).toEqual([127, 2 ** -24, 2 ** 24, 1, 1.125]);
  expect(eight.slice(0, 4)).toEqual([2 ** -24, 2 ** -20, 2 ** -18, 2 ** -16]);
});

it('rounds as the bits are rounded, ties to the even code', () => {
  const grid = gridFor('posit:bits=5,es=1,scale=max', [64]);
  const to = (x: number): number => roundTo(grid, Math.fround(x));
  // 1 has the even code 01000, 1.5 the odd 01001; where exponent bits are cut off the border is not the middle: 16 | 64 at 32.
  expect([1.25, 1.26, 1.75, 1.74].map(to)).toEqual([1, 1.5, 2, 1.5]);
  expect([32, 33, 31].map(to)).toEqual([16, 64, 16]);
  for (const x of [1.25, 1.26, 1.75, 32, 33, 0.02]) expect(to(-x)).toBe(-to(x));
});

it('makes 0 of nothing but 0, and saturates', () => {
  const grid = gridFor('posit:scale=max', [2 ** 24]);
  expect([roundTo(grid, 1e-30), roundTo(grid, -1e-30), roundTo(grid, 0)]).toEqual([2 ** -24, -(2 ** -24), 0]);
  expect(roundTo(grid, 1e30)).toBe(2 ** 24);
  expect(codeOf(grid, 0)).toBe(127);
  expect(levelsOf('posit:bits=6', [1], { signed: false })).toHaveLength(32);
  expect(written('posit').bits).toBe(8);
});

it('takes a scale at which weights lie where posits are exact, not where the largest is the outermost level', () => {
  const weights = Float32Array.from({ length: 1152 }, gaussian(5)).map((w) => w / 50);
  const { values } = formatCodes(written('posit'), { data: weights, rows: 1, columns: 1152, kernel: [] }, {});
  // Within a factor of 16 of 1 an 8-bit posit has 3 bits of fraction and more: as exact as fp8_e4m3, 31.9 dB.
  expect(sqnr(weights, values)).toBeGreaterThan(30);
});
