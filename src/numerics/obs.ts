import { portion, type Steps } from '../util/steps.ts';
import { cholesky, damped, invertLower } from './linalg.ts';

/**
 * The upper triangular U with H⁻¹ = Uᵀ·U, by which optimal brain surgeon goes through the columns from left to right: once
 * columns 0 … j are fixed, the inverse Hessian of the others has the first row U[j,j]·U[j, j…] (E. Frantar et al., GPTQ, arXiv
 * 2210.17323, section 3.3). Found without forming the inverse: H with rows and columns reversed is L·Lᵀ, and U is L⁻¹ reversed
 * back.
 *
 * @param hessian Σ x·xᵀ over the layer's inputs, n × n, row-major, any positive multiple of it.
 * @param damping share of the mean diagonal added to the diagonal (0.01 in GPTQ); inputs that never occur get 1.
 * @throws QtoolError `data` if the damped matrix is not positive definite.
 */
export function* inverseFactor(hessian: Float64Array, n: number, damping = 0.01, at?: string): Steps<Float64Array> {
  const l = yield* portion(cholesky(damped(hessian, n, damping).reverse(), n, at), 0, 0.5);
  const u = yield* portion(invertLower(l, n), 0.5, 1);
  return u.reverse();
}

/** Column numbers by falling diagonal; equal ones in order. */
export function byDiagonal(h: Float64Array, n: number): Int32Array {
  const diagonal = (i: number) => h[i * n + i]!;
  return Int32Array.from({ length: n }, (_, i) => i).sort((a, b) => diagonal(b) - diagonal(a) || a - b);
}

/** A symmetric matrix with rows and columns in another order. */
export function permuted(h: Float64Array, n: number, columns: Int32Array): Float64Array {
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const row = columns[i]! * n;
    for (let j = 0; j < n; j++) out[i * n + j] = h[row + columns[j]!]!;
  }
  return out;
}

/** Columns whose errors are collected before they are carried to the columns beyond; four rows of them stay in registers' reach. */
export const batch = 32;

/**
 * Carries the errors of column j of four rows to the columns between j and `end`: w[r, k] −= e[r]·U[j, k].
 *
 * @param w four rows of `n` numbers, the first of them beginning at `at`.
 * @param errors [4, batch]; column j's stand in `slot`.
 */
export function spread(
  w: Float64Array,
  at: number,
  n: number,
  u: Float64Array,
  j: number,
  end: number,
  errors: Float64Array,
  slot: number,
): void {
  const e0 = errors[slot]!;
  const e1 = errors[batch + slot]!;
  const e2 = errors[2 * batch + slot]!;
  const e3 = errors[3 * batch + slot]!;
  const r1 = at + n;
  const r2 = r1 + n;
  const r3 = r2 + n;
  for (let k = j + 1; k < end; k++) {
    const v = u[j * n + k]!;
    w[at + k]! -= e0 * v;
    w[r1 + k]! -= e1 * v;
    w[r2 + k]! -= e2 * v;
    w[r3 + k]! -= e3 * v;
  }
}

/** Carries the errors of columns first … end−1 (slots 0 …) of four rows to all columns from `end` on, two columns at a time. */
export function flush(
  w: Float64Array,
  at: number,
  n: number,
  u: Float64Array,
  first: number,
  end: number,
  errors: Float64Array,
): void {
  const r1 = at + n;
  const r2 = r1 + n;
  const r3 = r2 + n;
  for (let j = first; j < end; j += 2) {
    const slot = j - first;
    const pair = j + 1 < end;
    const e0 = errors[slot]!;
    const e1 = errors[batch + slot]!;
    const e2 = errors[2 * batch + slot]!;
    const e3 = errors[3 * batch + slot]!;
    const f0 = pair ? errors[slot + 1]! : 0;
    const f1 = pair ? errors[batch + slot + 1]! : 0;
    const f2 = pair ? errors[2 * batch + slot + 1]! : 0;
    const f3 = pair ? errors[3 * batch + slot + 1]! : 0;
    const uj = j * n;
    const uk = pair ? uj + n : uj;
    for (let k = end; k < n; k++) {
      const x = u[uj + k]!;
      const y = u[uk + k]!;
      w[at + k]! -= e0 * x + f0 * y;
      w[r1 + k]! -= e1 * x + f1 * y;
      w[r2 + k]! -= e2 * x + f2 * y;
      w[r3 + k]! -= e3 * x + f3 * y;
    }
  }
}

/** The diagonal of the damped H⁻¹: w² / [H⁻¹]ⱼⱼ is what is lost with a weight when all others make up for it (see `inverseFactor`). */
export function* diagonalOfInverse(hessian: Float64Array, n: number, damping = 0.01, at?: string): Steps<Float64Array> {
  const u = yield* inverseFactor(hessian, n, damping, at);
  const diagonal = new Float64Array(n);
  // H⁻¹ = Uᵀ U: the squares of U's columns.
  for (let i = 0; i < n; i++) for (let j = i; j < n; j++) diagonal[j]! += u[i * n + j]! ** 2;
  return diagonal;
}
