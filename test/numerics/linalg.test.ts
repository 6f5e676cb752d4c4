import {
  cholesky as choleskySteps,
  damped,
  invertLower as invertLowerSteps,
  solveSpd as solveSpdSteps,
} from '../../src/numerics/linalg.ts';
import { inverseFactor as inverseFactorSteps } from '../../src/numerics/obs.ts';
import { gaussian } from './samples.ts';
import { whole } from '../helpers/whole.ts';

const cholesky = whole(choleskySteps);
const invertLower = whole(invertLowerSteps);
const solveSpd = whole(solveSpdSteps);
const inverseFactor = whole(inverseFactorSteps);

/** x·xᵀ of n × m random numbers: positive definite for m ≥ n. */
function gram(n: number, m: number, seed: number): Float64Array {
  const next = gaussian(seed);
  const x = Float64Array.from({ length: n * m }, next);
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let s = 0;
      for (let k = 0; k < m; k++) s += (x[i * m + k] as number) * (x[j * m + k] as number);
      a[i * n + j] = a[j * n + i] = s;
    }
  }
  return a;
}

/** The plain triple loop. */
function product(
  a: Float64Array,
  b: Float64Array,
  n: number,
  transpose: 'first' | 'second' | 'none' = 'none',
): Float64Array {
  const c = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      let s = 0;
      for (let k = 0; k < n; k++) {
        const x = transpose === 'first' ? a[k * n + i] : a[i * n + k];
        const y = transpose === 'second' ? b[j * n + k] : b[k * n + j];
        s += (x as number) * (y as number);
      }
      c[i * n + j] = s;
    }
  }
  return c;
}

function expectClose(a: Float64Array, b: Float64Array, tolerance: number): void {
  const largest = b.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  const worst = a.reduce((m, v, i) => Math.max(m, Math.abs(v - (b[i] as number))), 0);
  expect(worst / largest).toBeLessThan(tolerance);
}

const identity = (n: number) => Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));

describe('cholesky', () => {
  it('has the textbook factor', () => {
    // https://en.wikipedia.org/wiki/Cholesky_decomposition#Example
    const a = Float64Array.of(4, 12, -16, 12, 37, -43, -16, -43, 98);
    expect([...cholesky(a, 3)]).toEqual([2, 0, 0, 6, 1, 0, -8, 5, 3]);
  });

  // Sizes on either side of the tile of 64, of the four rows and of the two columns that go together.
  it.each([1, 2, 5, 63, 64, 65, 67, 130, 201])('L·Lᵀ is the matrix, and L⁻¹·L is 1, for n = %d', (n) => {
    const a = gram(n, 2 * n, n);
    const l = cholesky(a.slice(), n);
    // Backward error of a Cholesky factorization: about n·2⁻⁵³ of the largest entry.
    expectClose(product(l, l, n, 'second'), a, 1e-13);
    expectClose(product(invertLower(l, n), l, n), identity(n), 1e-11);
    expect(l.every((v, i) => i % n <= Math.floor(i / n) || v === 0)).toBe(true);
  });

  it('has the determinant and inverse of Hilbert matrices', () => {
    // The inverse of a Hilbert matrix has integer entries: (0, 0) is n².
    for (const n of [2, 4, 6]) {
      const h = Float64Array.from({ length: n * n }, (_, i) => 1 / (Math.floor(i / n) + (i % n) + 1));
      const x = solveSpd(h, n, identity(n), n);
      expect((x[0] as number) / n ** 2).toBeCloseTo(1, 8);
      // (n−1, n−1) for n = 6: 698544.
      if (n === 6) expect((x[35] as number) / 698544).toBeCloseTo(1, 7);
    }
  });

  it('refuses what is not positive definite, with the row', () => {
    expect(() => cholesky(Float64Array.of(1, 2, 2, 1), 2, 'conv1')).toThrow('not positive definite at row 1');
    expect(() => cholesky(Float64Array.of(NaN), 1)).toThrow('row 0');
  });
});

describe('solving', () => {
  it.each([1, 3, 70])('a·x = b for n = %d', (n) => {
    const a = gram(n, 2 * n + 1, 5);
    const b = Float64Array.from({ length: n * n }, gaussian(6));
    const before = [a.slice(), b.slice()];
    expectClose(product(a, solveSpd(a, n, b, n), n), b, 1e-9);
    expect([a, b]).toEqual(before);
  });
  it('damps by the mean diagonal and wakes dead inputs', () => {
    expect([...damped(Float64Array.of(2, 1, 1, 4), 2, 0.1)]).toEqual([2.3, 1, 1, 4.3]);
    expect([...damped(Float64Array.of(0, 0, 0, 4), 2, 0.5)]).toEqual([1, 0, 0, 5]);
  });
});

it.each([1, 6, 70])('the inverse factor gives Uᵀ·U = H⁻¹ for n = %d', (n) => {
  const h = gram(n, 2 * n, 9);
  const u = inverseFactor(h, n, 0);
  expect(u.every((v, i) => i % n >= Math.floor(i / n) || v === 0)).toBe(true);
  expectClose(product(product(u, u, n, 'first'), h, n), identity(n), 1e-9);
});
