import fc from '../../helpers/fc.ts';
import { codeOf, roundTo } from '../../../src/numerics/grid.ts';
import { fill, gaussian } from '../samples.ts';
import { gridFor, levelsOf, rounded, squaredError } from './support.ts';

const few = fc.array(fc.float({ min: -4, max: 4, noNaN: true }), { minLength: 1, maxLength: 9 });
const errorOf = (format: string, values: readonly number[], importance?: readonly number[]): number => {
  const grid = gridFor(format, values, { importance });
  return squaredError(Float32Array.from(values), (x) => roundTo(grid, x), importance);
};

describe('ternary', () => {
  it('is the best of all choices of what becomes 0', () => {
    fc.assert(
      fc.property(few, fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 9, maxLength: 9 }), (values, weights) => {
        const w = weights.slice(0, values.length);
        let best = Infinity;
        for (let mask = 0; mask < 2 ** values.length; mask++) {
          const kept = values.map((_, i) => (mask >> i) & 1);
          const weight = kept.reduce((sum, k, i) => sum + k * w[i]!, 0);
          const a = weight > 0 ? kept.reduce((sum, k, i) => sum + k * w[i]! * Math.abs(values[i]!), 0) / weight : 0;
          best = Math.min(
            best,
            values.reduce((sum, v, i) => sum + w[i]! * (Math.abs(v) - kept[i]! * a) ** 2, 0),
          );
        }
        expect(errorOf('ternary', values, w)).toBeLessThanOrEqual(best + 1e-5);
      }),
      { seed: 1, numRuns: 60 },
    );
  });

  it('with two scales is the best for either side', () => {
    fc.assert(
      fc.property(few, (values) => {
        const sides = [values.filter((v) => v > 0), values.filter((v) => v < 0)];
        const each = sides.reduce((sum, side) => sum + (side.length > 0 ? errorOf('ternary', side) : 0), 0);
        expect(errorOf('ternary:scales=2', values)).toBeLessThanOrEqual(each + 1e-5);
      }),
      { seed: 2, numRuns: 60 },
    );
  });

  it('has TWN’s threshold, 0.7 of the mean magnitude, and the mean of what is above', () => {
    // mean |w| = 0.5, threshold 0.35: 0.4, 0.6 and 1.2 stay, their mean 0.7333.
    const a = Math.fround(2.2 / 3);
    const values = [0.4, -0.6, 1.2, 0.1, -0.2];
    expect(rounded('ternary:threshold=0.7', values)).toEqual([a, -a, a, 0, 0]);
    expect(rounded('ternary:threshold=0.7,scales=2', values).map((x) => x + 0)).toEqual([
      Math.fround(0.8),
      Math.fround(-0.6),
      Math.fround(0.8),
      0,
      0,
    ]);
  });
});

describe('binary', () => {
  it('is the sign times the mean magnitude, 0 counting as positive', () => {
    expect(rounded('binary', [1, -2, 3, 0])).toEqual([1.5, -1.5, 1.5, 1.5]);
    expect(levelsOf('binary', [1, -2, 4], { importance: [1, 1, 2] })).toEqual([-2.75, 2.75]);
  });

  it('has the scale of least error', () => {
    fc.assert(
      fc.property(few, (values) => {
        const a = levelsOf('binary', values).at(-1)!;
        for (const other of [a * 0.99, a * 1.01]) {
          const worse = squaredError(values, (x) => (x < 0 ? -other : other));
          expect(errorOf('binary', values)).toBeLessThanOrEqual(worse + 1e-5);
        }
      }),
      { seed: 3, numRuns: 60 },
    );
  });
});

describe('residual', () => {
  it('adds the mean magnitude of what is left', () => {
    // mean |w| = 2; left 1, 1, −1, −1; mean 1: ±2 ± 1.
    expect(levelsOf('residual', [3, -1, 1, -3])).toEqual([-3, -1, 1, 3]);
    expect(rounded('residual', [3, -1, 1, -3])).toEqual([3, -1, 1, -3]);
  });

  it('is never farther off than the signs in turn', () => {
    const values = fill(500, gaussian(4));
    for (const bases of [1, 2, 3, 5]) {
      const rest = Float64Array.from(values);
      for (let m = 0; m < bases; m++) {
        const a = rest.reduce((sum, r) => sum + Math.abs(r), 0) / rest.length;
        for (let i = 0; i < rest.length; i++) rest[i]! -= rest[i]! < 0 ? -a : a;
      }
      const inTurn = rest.reduce((sum, r) => sum + r * r, 0);
      expect(errorOf(`residual:bases=${bases}`, [...values])).toBeLessThanOrEqual(inTurn * (1 + 1e-6));
    }
  });
});

describe('ABC-Net', () => {
  const values = [...fill(200, gaussian(5))];
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const std = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length);

  it.each([1, 2, 3, 5])('has %i bases with the factors of least error', (bases) => {
    const grid = gridFor(`abc:bases=${bases}`, values);
    expect(grid.levels).toHaveLength(bases + 1);
    const u = Array.from({ length: bases }, (_, i) => (bases === 1 ? 0 : -1 + (2 * i) / (bases - 1)));
    const signs = values.map((v) => u.map((ui) => (Math.fround(v) - mean + ui * std >= 0 ? 1 : -1)));
    // The factors from the levels: base i adds 2·a between neighbours; the lowest level is minus their sum.
    const a = [...grid.levels]
      .slice(1)
      .map((l, i) => (l - grid.levels[i]!) / 2)
      .reverse();
    expect(a.reduce((x, y) => x + y, 0)).toBeCloseTo(-grid.levels[0]!, 5);
    const left = values.map((v, i) => v - signs[i]!.reduce((sum, s, k) => sum + s * a[k]!, 0));
    for (const [i, v] of values.entries())
      expect(Math.fround(v) - left[i]!).toBeCloseTo(roundTo(grid, Math.fround(v)), 5);
    // Least squares: what is left is at right angles to every base.
    for (let k = 0; k < bases; k++)
      expect(Math.abs(left.reduce((sum, r, i) => sum + r * signs[i]![k]!, 0))).toBeLessThan(1e-4);
  });

  it('holds groups that leave bases nothing to tell', () => {
    expect(rounded('abc:bases=5', [2, 2, 2])).toEqual([2, 2, 2]);
    expect(rounded('abc:bases=5', [1, -1])).toEqual([1, -1]);
    expect(codeOf(gridFor('abc', [0]), 0)).toBe(0);
  });
});
