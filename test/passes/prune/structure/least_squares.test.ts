import { random } from '../../../helpers/models.ts';
import { blockCost, takeBlock } from '../../../../src/passes/prune/structure/eliminate.ts';
import type { Moments } from '../../../../src/passes/moments.ts';
import { bestBias, leastSquares as leastSquaresSteps } from '../../../../src/passes/prune/structure/refit.ts';
import { whole } from '../../../helpers/whole.ts';

const leastSquares = whole(leastSquaresSteps);

const next = random(5);
const [rows, size, count] = [3, 6, 40];
const mix = Array.from({ length: size }, () => Array.from({ length: size }, () => next() - 0.5));
// Correlated inputs with means, targets that depend on them only in part.
const xs = Array.from({ length: count }, () => {
  const z = Array.from({ length: size }, () => next() - 0.3);
  return mix.map((row) => row.reduce((sum, m, i) => sum + m * (z[i] as number), 0.2));
});
const truth = Array.from({ length: rows }, () => Array.from({ length: size }, () => next() - 0.5));
const ys = xs.map((x) => truth.map((w) => w.reduce((sum, v, i) => sum + v * (x[i] as number), 1) + 0.3 * next()));

function momentsOf(): Moments {
  const gram = new Float64Array(size * size);
  const cross = new Float64Array(rows * size);
  const [sum, target, power] = [new Float64Array(size), new Float64Array(rows), new Float64Array(rows)];
  const add = (to: Float64Array, at: number, v: number): void => void (to[at] = (to[at] as number) + v);
  xs.forEach((x, n) => {
    x.forEach((v, i) => {
      add(sum, i, v);
      x.forEach((w, j) => add(gram, i * size + j, v * w));
      ys[n]?.forEach((y, r) => add(cross, r * size + i, y * v));
    });
    ys[n]?.forEach((y, r) => {
      add(target, r, y);
      add(power, r, y * y);
    });
  });
  const sums = { count, sum, targetSum: target };
  return { groups: 1, size, rows, gram, target: cross, power, ...sums, all: sums };
}

/** Solves A x = b by Gaussian elimination with pivoting: the reference, of other make than the code under test. */
function solve(a: number[][], b: number[]): number[] {
  const m = a.map((row, i) => [...row, b[i] as number]);
  const n = b.length;
  for (let c = 0; c < n; c++) {
    const pivot = m
      .slice(c)
      .reduce((best, row, i) => (Math.abs(row[c] as number) > Math.abs(m[best]?.[c] as number) ? c + i : best), c);
    [m[c], m[pivot]] = [m[pivot] as number[], m[c] as number[]];
    for (let r = 0; r < n; r++) {
      if (r === c) continue;
      const f = (m[r]?.[c] as number) / (m[c]?.[c] as number);
      m[r] = (m[r] as number[]).map((v, k) => v - f * (m[c]?.[k] as number));
    }
  }
  return m.map((row, i) => (row[n] as number) / (row[i] as number));
}

/** The best weights on some columns, and ‖Y − WX − b‖² with them, from the samples themselves. */
function reference(columns: readonly number[]): { weights: number[][]; error: number } {
  const design = xs.map((x) => [...columns.map((k) => x[k] as number), 1]);
  const normal = design[0]?.map((_, i) =>
    (design[0] as number[]).map((__, j) => design.reduce((s, d) => s + (d[i] as number) * (d[j] as number), 0)),
  ) as number[][];
  let error = 0;
  const weights = Array.from({ length: rows }, (_, r) => {
    const right = (design[0] as number[]).map((__, i) =>
      design.reduce((s, d, n) => s + (d[i] as number) * (ys[n]?.[r] as number), 0),
    );
    const w = solve(normal, right);
    design.forEach(
      (d, n) => (error += (d.reduce((s, v, i) => s + v * (w[i] as number), 0) - (ys[n]?.[r] as number)) ** 2),
    );
    return w;
  });
  return { weights, error };
}

describe('least squares with columns taken away', () => {
  // The ridge is 1e-9 of the mean diagonal; the normal equations here have condition below 1e4.
  const own = new Float64Array(rows * size);

  it('begins at the solution of the normal equations, bias included', () => {
    const moments = momentsOf();
    const problem = leastSquares(moments, 0, own, { ridge: 0, bias: true });
    const { weights, error } = reference([0, 1, 2, 3, 4, 5]);
    weights.forEach((w, r) => {
      for (let k = 0; k < size; k++) expect(problem.weights[r * size + k]).toBeCloseTo(w[k] as number, 5);
      expect(bestBias(moments, 0, problem)[r]).toBeCloseTo(w[size] as number, 5);
    });
    expect(problem.error).toBeCloseTo(error, 5);
  });

  it('stays at it, block by block, and foretells what each costs', () => {
    const problem = leastSquares(momentsOf(), 0, own, { ridge: 0, bias: true });
    let { error } = problem;
    for (const [block, left] of [
      [
        [1, 4],
        [0, 2, 3, 5],
      ],
      [[0], [2, 3, 5]],
      [[3, 5], [2]],
    ] as const) {
      error += blockCost(problem, block);
      takeBlock(problem, block);
      const best = reference(left);
      expect(error).toBeCloseTo(best.error, 5);
      best.weights.forEach((w, r) => {
        left.forEach((k, i) => expect(problem.weights[r * size + k]).toBeCloseTo(w[i] as number, 5));
        block.forEach((k) => expect(problem.weights[r * size + k]).toBe(0));
      });
    }
  });

  it('is pulled to the weights it had where the data says nothing', () => {
    const silent: Moments = {
      ...momentsOf(),
      gram: new Float64Array(size * size),
      target: new Float64Array(rows * size),
      sum: new Float64Array(size),
    };
    const had = Float64Array.from({ length: rows * size }, (_, i) => i - 5);
    const problem = leastSquares(silent, 0, had, { ridge: 1e-3, bias: true });
    problem.weights.forEach((w, i) => expect(w).toBeCloseTo(had[i] as number, 9));
  });
});
