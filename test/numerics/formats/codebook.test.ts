import fc from '../../helpers/fc.ts';
import { roundTo } from '../../../src/numerics/grid.ts';
import { formatCodes } from '../../../src/numerics/formats/apply.ts';
import { kMeans } from '../../../src/numerics/kmeans.ts';
import { fill, gaussian, random } from '../samples.ts';
import { gridFor, levelsOf, rounded, squaredError, written } from './support.ts';

const errorOf = (format: string, values: Float32Array, importance?: Float64Array): number => {
  const grid = gridFor(format, values, { importance });
  return squaredError(values, (x) => roundTo(grid, x), importance);
};

/** Least error of k clusters, over all ways to cut the sorted values. */
function leastOf(values: readonly number[], k: number, w: readonly number[]): number {
  const order = [...values.keys()].sort((a, b) => values[a]! - values[b]!);
  const cost = (part: readonly number[]): number => {
    const weight = part.reduce((sum, i) => sum + w[i]!, 0);
    const mean = weight > 0 ? part.reduce((sum, i) => sum + w[i]! * values[i]!, 0) / weight : 0;
    return part.reduce((sum, i) => sum + w[i]! * (values[i]! - mean) ** 2, 0);
  };
  const best = (from: number, left: number): number => {
    if (left === 1) return cost(order.slice(from));
    let least = cost(order.slice(from));
    for (let cut = from + 1; cut < order.length; cut++)
      least = Math.min(least, cost(order.slice(from, cut)) + best(cut, left - 1));
    return least;
  };
  return best(0, k);
}

it('finds the least error there is with start=exact', () => {
  const some = fc.array(fc.float({ min: Math.fround(0.01), max: 4, noNaN: true }), { minLength: 5, maxLength: 9 });
  const weights = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 9, maxLength: 9 });
  fc.assert(
    fc.property(some, weights, (list, all) => {
      const values = Float32Array.from(list, (v, i) => (i % 2 ? -v : v));
      const w = all.slice(0, values.length);
      const got = errorOf('codebook:bits=2,start=exact', values, Float64Array.from(w));
      expect(got).toBeLessThanOrEqual(leastOf([...values], 4, w) + 1e-5);
    }),
    { seed: 1, numRuns: 60 },
  );
});

it.each(['linear', 'density', 'random'])('ends where no centre can move: %s', (start) => {
  const values = fill(3000, gaussian(6));
  const importance = Float64Array.from(fill(3000, random(7)));
  const grid = gridFor(`codebook:start=${start},seed=5`, values, { importance });
  expect(grid.levels).toHaveLength(16);
  for (const level of grid.levels) {
    const mine = [...values.keys()].filter((i) => roundTo(grid, values[i]!) === level);
    const weight = mine.reduce((sum, i) => sum + importance[i]!, 0);
    expect(level).toBeCloseTo(mine.reduce((sum, i) => sum + importance[i]! * values[i]!, 0) / weight, 5);
  }
  // All starts come near the best for a normal distribution.
  const exact = errorOf('codebook:start=exact', values, importance);
  expect(errorOf(`codebook:start=${start},seed=5`, values, importance)).toBeLessThan(1.5 * exact);
});

it('keeps pruned weights at 0, and 0 alone for nothing else', () => {
  const values = fill(400, gaussian(8)).map((v, i) => (i % 3 === 0 ? 0 : v + 3));
  for (const text of ['codebook:bits=3', 'codebook:bits=3,start=exact', 'codebook:bits=1']) {
    const got = rounded(text, values);
    expect(levelsOf(text, values)).toContain(0);
    expect(got.every((r, i) => values[i] !== 0 || r === 0)).toBe(true);
  }
  expect(
    levelsOf(
      'codebook:bits=3',
      values.filter((v) => v !== 0),
    ),
  ).not.toContain(0);
});

it('leaves no cluster empty where values differ enough', () => {
  // A linear start puts most centres into the gap.
  const values = Float32Array.from([...fill(200, random(9)), ...fill(200, random(10)).map((v) => v + 1000)]);
  expect(kMeans(values, 16, { start: 'linear', seed: 0 })).toHaveLength(16);
  expect(errorOf('codebook', values)).toBeLessThan(10);
});

it('holds few different values exactly', () => {
  expect(rounded('codebook:bits=2', [3, 1, 3, -2, 1])).toEqual([3, 1, 3, -2, 1]);
  expect(levelsOf('codebook', [0, 0, 0])).toEqual([0]);
});

it('counts errors by their importance, in a tensor too', () => {
  const data = Float32Array.of(0, 1, 10, 11, 20, 30);
  const importance = Float32Array.of(0, 0, 1, 0, 1, 0);
  const made = formatCodes(
    written('codebook:bits=1,start=exact'),
    { data, rows: 1, columns: 6, kernel: [] },
    { importance },
  );
  // 0 is a value and has to stay; the other centre serves 10 and 20 alike.
  expect([...made.groups[0]!.set.levels]).toEqual([0, 15]);
});

describe('weighted entropy', () => {
  const worth = (sizes: readonly number[], cuts: readonly number[], zero: boolean): number => {
    let sum = 0;
    for (let i = zero ? 1 : 0; i + 1 < cuts.length; i++) {
      const part = sizes.slice(cuts[i], cuts[i + 1]);
      if (part.length > 0)
        sum -= (part.reduce((s, v) => s + v * v, 0) / sizes.length) * Math.log(part.length / sizes.length / 2);
    }
    return sum;
  };

  it.each([true, false])('comes near the clusters of largest weighted entropy (zero: %s)', (zero) => {
    const values = [...fill(40, gaussian(11))];
    const sizes = values
      .map(Math.abs)
      .map(Math.fround)
      .sort((a, b) => a - b);
    const grid = gridFor(`weq:bits=3,zero=${zero}`, values);
    const positive = [...grid.levels].filter((l) => l >= 0);
    const of = (l: number): number => sizes.filter((s) => roundTo(grid, s) < l).length;
    const cuts = [...positive.map(of), sizes.length];
    let best = -Infinity;
    for (let a = 0; a <= 40; a++) for (let b = a; b <= 40; b++) for (let c = b; c <= 40; c++) best = Math.max(best, worth(sizes, [0, a, b, c, 40], zero)); // prettier-ignore
    // Boundaries move one at a time: a little below the best of all.
    expect(worth(sizes, cuts, zero)).toBeGreaterThan(0.97 * best);
    for (const [i, level] of positive.entries()) {
      const part = sizes.slice(cuts[i], cuts[i + 1]);
      if (level > 0) expect(level).toBeCloseTo(Math.sqrt(part.reduce((s, v) => s + v * v, 0) / part.length), 5);
    }
  });

  it('keeps zeros', () => {
    const values = fill(300, gaussian(12)).map((v, i) => (i % 2 ? v : 0));
    expect(rounded('weq', values).every((r, i) => values[i] !== 0 || r === 0)).toBe(true);
  });
});
