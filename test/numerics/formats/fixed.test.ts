import { codeOf, roundTo } from '../../../src/numerics/grid.ts';
import { random } from '../samples.ts';
import { gridFor, levelsOf, rounded, written } from './support.ts';

const scaleOf = (text: string, values: readonly number[], signed = true): number =>
  written(text).fit(Float32Array.from(values), { signed, largest: Math.max(...values.map(Math.abs)) }).scale;

describe('fixed', () => {
  it('is Qm.n: from −2^(m) to 2^m − 2^−n in steps of 2^−n, saturating', () => {
    const levels = levelsOf('fixed:bits=8,fraction=4', [100]);
    expect([levels[0], levels.at(-1), levels.length]).toEqual([-8, 8 - 2 ** -4, 256]);
    expect(rounded('fixed:bits=8,fraction=4', [100, -100, 0.03, 0.04, 1 / 32, 3 / 32])).toEqual([
      7.9375, -8, 0, 0.0625, 0, 0.125,
    ]);
    expect(levelsOf('fixed:bits=8,fraction=4', [1], { signed: false }).at(-1)).toBe(16 - 2 ** -4);
  });

  it('leaves Ristretto’s integer part: ⌈log2 of the largest⌉ bits and a sign', () => {
    expect(scaleOf('fixed:bits=8', [0.9, -0.2])).toBe(2 ** -7);
    expect(scaleOf('fixed:bits=8', [1.1])).toBe(2 ** -6);
    expect(scaleOf('fixed:bits=8', [0.2])).toBe(2 ** -9);
    expect(scaleOf('fixed:bits=8', [0.9, 0.2], false)).toBe(2 ** -8);
    expect(written('fixed').sharing).toBe('tensor');
    expect(written('dynamic_fixed').sharing).toBe('channel');
    expect(written('dynamic_fixed:block=16').sharing).toEqual({ group: 16 });
  });

  it('finds the power of least error', () => {
    const next = random(13);
    const values = Float32Array.from({ length: 50 }, () => next() ** 6);
    const error = (fraction: number | string): number =>
      rounded(`fixed:bits=4,fraction=${fraction}`, values).reduce((sum, r, i) => sum + (r - values[i]!) ** 2, 0);
    const all = Array.from({ length: 12 }, (_, n) => error(n));
    expect(error('mse')).toBe(Math.min(...all));
  });

  it('rounds down where told to', () => {
    const grid = gridFor('fixed:bits=6,fraction=2,rounding=floor', [1]);
    for (const x of [0.24, 0.25, -0.01, -0.25, 1.99, 100, -100]) {
      expect(roundTo(grid, Math.fround(x))).toBe(Math.max(-8, Math.min(7.75, Math.floor(Math.fround(x) * 4) / 4)));
    }
  });
});

describe('stochastic rounding', () => {
  const format = written('fixed:bits=6,fraction=2,rounding=stochastic,seed=3');
  const fitted = format.fit(Float32Array.of(1), { signed: true, largest: 1 });
  const grid = gridFor(format, [1]);
  const drawn = (x: number, group = 0): number[] =>
    [...format.codes(new Float32Array(20_000).fill(x), fitted, group)].map((code) => grid.levels[code]!);

  it('is right on average, and one of the two neighbours', () => {
    for (const x of [0.1, 0.125, -0.2, 1.24]) {
      const values = drawn(x);
      const [low, high] = [Math.floor(x * 4) / 4, Math.ceil(x * 4) / 4];
      expect(new Set(values)).toEqual(new Set([low, high]));
      // Four deviations of the mean of 20 000 draws between numbers ¼ apart.
      expect(Math.abs(values.reduce((a, b) => a + b, 0) / values.length - x)).toBeLessThan(
        (4 * 0.125) / Math.sqrt(20_000) + 1e-6,
      );
    }
  });

  it('leaves levels, saturates, and draws the same for the same seed and group', () => {
    for (const x of [0.25, -8, 0, 7.75]) expect(new Set(drawn(x))).toEqual(new Set([x]));
    expect(new Set([...drawn(50), ...drawn(-50)])).toEqual(new Set([7.75, -8]));
    expect(drawn(0.1)).toEqual(drawn(0.1));
    expect(drawn(0.1)).not.toEqual(drawn(0.1, 1));
    expect(format.codes(Float32Array.of(0.1), fitted, 0)).toHaveLength(1);
  });

  it('is not for activations', () => {
    expect(format.notActivations).toContain('by chance');
    expect(written('fixed').notActivations).toBeUndefined();
    expect(written('dynamic_fixed:rounding=stochastic').notActivations).toContain('by chance');
  });
});

it('flexpoint has an exponent of five bits for the tensor', () => {
  expect(scaleOf('flexpoint', [0.9])).toBe(2 ** -15);
  expect(scaleOf('flexpoint', [2 ** -30])).toBe(2 ** -31);
  expect(scaleOf('flexpoint', [2 ** 20])).toBe(1);
  expect(scaleOf('flexpoint:exponent=3', [0.9])).toBe(2 ** -7);
  expect(written('flexpoint').sharing).toBe('tensor');
  expect(codeOf(gridFor('flexpoint', [0.9]), 0)).toBe(2 ** 15);
});
