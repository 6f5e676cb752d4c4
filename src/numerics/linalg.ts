import { QtoolError } from '../util/error.ts';
import { portion, type Steps } from '../util/steps.ts';

const { min, sqrt } = Math;

/** Side of the tiles that the blocked loops work on: three of them (32 KB each) fit a second-level cache. */
const tile = 64;

/**
 * Cholesky factor in place: the lower triangle of `a` (n × n, row-major, symmetric; only its lower triangle is read) becomes L
 * with L·Lᵀ = a, the upper triangle zeros. Blocked, left-looking: each panel first takes the products of all earlier columns in
 * tiles, then is factored.
 *
 * @throws QtoolError `data` if `a` is not positive definite (to working precision), saying at which row; damping is the cure.
 */
export function* cholesky(a: Float64Array, n: number, at?: string): Steps<Float64Array> {
  for (let p = 0; p < n; p += tile) {
    const q = min(n, p + tile);
    for (let r = p; r < n; r += tile) {
      const s = min(n, r + tile);
      for (let k = 0; k < p; k += tile) subtractProduct(a, n, r, s, p, q, k, min(p, k + tile));
      if (r === p) factorTile(a, n, p, q, at);
      else solveTile(a, n, r, s, p, q);
      yield p / n;
    }
  }
  for (let i = 0; i < n; i++) a.fill(0, i * n + i + 1, (i + 1) * n);
  return a;
}

/**
 * a[r..s, p..q] −= a[r..s, k0..k1] · a[p..q, k0..k1]ᵀ, four rows by two columns at a time. An odd last column is the matrix's last:
 * below the diagonal it has only the last row, which is never one of four, as the rows then are as odd in number.
 */
function subtractProduct(
  a: Float64Array,
  n: number,
  r: number,
  s: number,
  p: number,
  q: number,
  k0: number,
  k1: number,
): void {
  let i = r;
  for (; i + 3 < s; i += 4) {
    const i0 = i * n;
    const i1 = i0 + n;
    const i2 = i1 + n;
    const i3 = i2 + n;
    for (let j = p; j + 1 < q; j += 2) {
      const j0 = j * n;
      const j1 = j0 + n;
      let c00 = 0;
      let c01 = 0;
      let c10 = 0;
      let c11 = 0;
      let c20 = 0;
      let c21 = 0;
      let c30 = 0;
      let c31 = 0;
      for (let k = k0; k < k1; k++) {
        const x = a[j0 + k]!;
        const y = a[j1 + k]!;
        const u = a[i0 + k]!;
        const v = a[i1 + k]!;
        const w = a[i2 + k]!;
        const z = a[i3 + k]!;
        c00 += u * x;
        c01 += u * y;
        c10 += v * x;
        c11 += v * y;
        c20 += w * x;
        c21 += w * y;
        c30 += z * x;
        c31 += z * y;
      }
      a[i0 + j]! -= c00;
      a[i0 + j + 1]! -= c01;
      a[i1 + j]! -= c10;
      a[i1 + j + 1]! -= c11;
      a[i2 + j]! -= c20;
      a[i2 + j + 1]! -= c21;
      a[i3 + j]! -= c30;
      a[i3 + j + 1]! -= c31;
    }
  }
  for (; i < s; i++) {
    for (let j = p; j < q; j++) a[i * n + j]! -= dot(a, i * n, j * n, k0, k1);
  }
}

function dot(a: Float64Array, i: number, j: number, k0: number, k1: number): number {
  let sum = 0;
  for (let k = k0; k < k1; k++) sum += a[i + k]! * a[j + k]!;
  return sum;
}

function factorTile(a: Float64Array, n: number, p: number, q: number, at?: string): void {
  for (let j = p; j < q; j++) {
    for (let i = p; i <= j; i++) {
      const rest = a[j * n + i]! - dot(a, j * n, i * n, p, i);
      if (i < j) a[j * n + i] = rest / a[i * n + i]!;
      else if (rest > 0 && rest < Infinity) a[j * n + j] = sqrt(rest);
      else {
        throw new QtoolError('data', `a ${n} × ${n} matrix is not positive definite at row ${j} (pivot ${rest})`, {
          at,
          hint: 'too few calibration samples for its size: use more samples or more damping',
        });
      }
    }
  }
}

/** Rows r..s of the panel: x · L[p..q, p..q]ᵀ = a. */
function solveTile(a: Float64Array, n: number, r: number, s: number, p: number, q: number): void {
  for (let i = r; i < s; i++) {
    for (let j = p; j < q; j++) {
      a[i * n + j] = (a[i * n + j]! - dot(a, i * n, j * n, p, j)) / a[j * n + j]!;
    }
  }
}

/** The inverse of a lower triangular matrix (row-major, zeros above the diagonal), as a new lower triangular one. */
export function* invertLower(l: Float64Array, n: number): Steps<Float64Array> {
  const x = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const d = 1 / l[i * n + i]!;
    // Row i of the inverse is −d · Σ_k L[i, k] · row k, and d on the diagonal: whole rows, so memory is read in order.
    let k = 0;
    for (; k + 3 < i; k += 4) {
      addRows(x, n, i, k, l[i * n + k]! * -d, l[i * n + k + 1]! * -d, l[i * n + k + 2]! * -d, l[i * n + k + 3]! * -d);
    }
    for (; k < i; k++) addRows(x, n, i, k, l[i * n + k]! * -d, 0, 0, 0);
    x[i * n + i] = d;
    yield (i / n) ** 3;
  }
  return x;
}

/** Row i += f0 · row k + f1 · row k+1 + …, all of them zero beyond their diagonal. */
function addRows(
  x: Float64Array,
  n: number,
  i: number,
  k: number,
  f0: number,
  f1: number,
  f2: number,
  f3: number,
): void {
  const to = i * n;
  const r0 = k * n;
  const r1 = f1 === 0 ? r0 : r0 + n;
  const r2 = f2 === 0 ? r0 : r0 + 2 * n;
  const r3 = f3 === 0 ? r0 : r0 + 3 * n;
  for (let j = 0, end = min(n, k + 4); j < end; j++) {
    x[to + j] = x[to + j]! + f0 * x[r0 + j]! + f1 * x[r1 + j]! + f2 * x[r2 + j]! + f3 * x[r3 + j]!;
  }
}

/**
 * Solves a·x = b for symmetric positive definite `a` (n × n) and b (n × m), both row-major; neither is changed. `damping` · mean
 * of the diagonal is added to the diagonal first (ridge regression).
 *
 * @throws QtoolError `data` if `a` is not positive definite.
 */
export function* solveSpd(
  a: Float64Array,
  n: number,
  b: Float64Array,
  m: number,
  damping = 0,
  at?: string,
): Steps<Float64Array> {
  const factor = n / (n + 6 * m);
  const l = yield* portion(cholesky(damped(a, n, damping), n, at), 0, factor);
  const done = (rows: number): number => factor + ((1 - factor) * rows) / (2 * n);
  const x = b.slice();
  const row = (i: number) => i * m;
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) axpy(x, row(i), row(k), m, -l[i * n + k]!);
    scale(x, row(i), m, 1 / l[i * n + i]!);
    yield done(i);
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) axpy(x, row(i), row(k), m, -l[k * n + i]!);
    scale(x, row(i), m, 1 / l[i * n + i]!);
    yield done(2 * n - i);
  }
  return x;
}

/** A copy with damping · mean(diagonal) added to the diagonal; a zero on the diagonal (a dead input) becomes 1. */
export function damped(a: Float64Array, n: number, damping: number): Float64Array {
  const out = a.slice();
  let trace = 0;
  for (let i = 0; i < n; i++) trace += a[i * n + i]!;
  const extra = (damping * trace) / n;
  for (let i = 0; i < n; i++) {
    const d = a[i * n + i]!;
    out[i * n + i] = d === 0 ? 1 : d + extra;
  }
  return out;
}

/**
 * What `make` makes at the least of some dampings that makes its matrix positive definite.
 * @throws QtoolError `data` where none does: the matrix is not finite.
 */
export function* dampedEnough<T>(
  make: (damping: number) => Steps<T>,
): Steps<{ readonly damping: number; readonly made: T }> {
  for (const damping of [1e-9, 1e-6, 1e-4, 1e-2]) {
    try {
      return { damping, made: yield* make(damping) };
    } catch (error) {
      if (!(error instanceof QtoolError)) throw error;
    }
  }
  return { damping: 1, made: yield* make(1) };
}

function axpy(x: Float64Array, to: number, from: number, m: number, factor: number): void {
  if (factor === 0) return;
  for (let j = 0; j < m; j++) x[to + j]! += factor * x[from + j]!;
}

function scale(x: Float64Array, at: number, m: number, factor: number): void {
  for (let j = 0; j < m; j++) x[at + j]! *= factor;
}
