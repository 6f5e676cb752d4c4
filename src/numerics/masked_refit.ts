import { portion, type Steps } from '../util/steps.ts';
import { cholesky, invertLower, solveSpd } from './linalg.ts';
import type { Mask } from './sparsity.ts';

/** A layer's least-squares problem: min over W of ‖Y − W X‖² + λ‖W − W₀‖². */
export interface RefitProblem {
  readonly rows: number;
  readonly cols: number;
  /** H = X Xᵀ + λI, [cols, cols]. */
  readonly hessian: Float64Array;
  /** Y Xᵀ + λW₀, [rows, cols]. */
  readonly goal: Float64Array;
}

/**
 * The weights that solve the problem exactly where only those that the mask keeps may differ from zero: per row the normal
 * equations H_SS w_S = g_S of its support S. Time grows with the cube of a row's support, or of its zeros where those are fewer.
 * @throws QtoolError `data` if H is not positive definite.
 */
export function* refitMasked(problem: RefitProblem, mask: Mask, at?: string): Steps<Float64Array> {
  const { rows, cols } = problem;
  const weights = new Float64Array(rows * cols);
  const split = Array.from({ length: rows }, (_, r) => {
    const [support, zeros]: [number[], number[]] = [[], []];
    for (let k = 0; k < cols; k++) (mask[r * cols + k] !== 0 ? support : zeros).push(k);
    return { support, zeros };
  });
  const saved = split.reduce((sum, one) => sum + Math.max(0, one.support.length ** 3 - one.zeros.length ** 3), 0);
  // The inverse, once for all rows, costs about as much as three solutions without a mask.
  const inverse = saved > 3 * cols ** 3 ? yield* portion(inverted(problem, at), 0, 0.1) : undefined;
  const from = inverse ? 0.1 : 0;
  const done = (r: number): number => from + ((1 - from) * r) / rows;
  for (const [r, { support, zeros }] of split.entries()) {
    const found = inverse && zeros.length < support.length ? yield* portion(byZeros(problem, inverse, r, zeros), done(r), done(r + 1)) : undefined; // prettier-ignore
    const exact = found && solves(problem, found, r, support) ? found : undefined;
    const row = exact ?? (yield* portion(bySupport(problem, r, support, at), done(r), done(r + 1)));
    weights.set(row, r * cols);
  }
  return weights;
}

function* bySupport(
  { cols, hessian, goal }: RefitProblem,
  r: number,
  support: readonly number[],
  at?: string,
): Steps<Float64Array> {
  // prettier-ignore
  const row = new Float64Array(cols);
  const n = support.length;
  if (n === 0) return row;
  const part = new Float64Array(n * n);
  const right = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    const from = support[i]! * cols;
    right[i] = goal[r * cols + support[i]!]!;
    for (let j = 0; j <= i; j++) part[i * n + j] = hessian[from + support[j]!]!;
  }
  const solved = yield* solveSpd(part, n, right, 1, 0, at);
  for (let i = 0; i < n; i++) row[support[i]!] = solved[i]!;
  return row;
}

/**
 * The same from what no mask leaves out: with G = H⁻¹, w = u − G_·Z (G_ZZ)⁻¹ u_Z of u = G g, which is zero at Z (the block inverse; optimal brain
 * surgeon of many weights at once).
 */
function* byZeros(
  { cols, goal }: RefitProblem,
  inverse: Float64Array,
  r: number,
  zeros: readonly number[],
): Steps<Float64Array> {
  // prettier-ignore
  const row = new Float64Array(cols);
  for (let i = 0; i < cols; i++) {
    let sum = 0;
    for (let j = 0; j < cols; j++) sum += inverse[i * cols + j]! * goal[r * cols + j]!;
    row[i] = sum;
  }
  const n = zeros.length;
  if (n === 0) return row;
  const part = new Float64Array(n * n);
  const right = Float64Array.from(zeros, (k) => row[k]!);
  for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) part[i * n + j] = inverse[zeros[i]! * cols + zeros[j]!]!;
  const share = yield* solveSpd(part, n, right, 1);
  for (let i = 0; i < cols; i++) for (let j = 0; j < n; j++) row[i]! -= inverse[i * cols + zeros[j]!]! * share[j]!;
  for (const k of zeros) row[k] = 0;
  return row;
}

/** Whether the normal equations hold to far less than float32 shows: an inverse of a nearly singular H may not do. */
function solves(
  { cols, hessian, goal }: RefitProblem,
  row: Float64Array,
  r: number,
  support: readonly number[],
): boolean {
  // prettier-ignore
  let [left, whole] = [0, 0];
  for (const i of support) {
    const wanted = goal[r * cols + i]!;
    let sum = -wanted;
    for (const j of support) sum += hessian[i * cols + j]! * row[j]!;
    left += sum * sum;
    whole += wanted * wanted;
  }
  return left <= 1e-20 * whole;
}

/** H⁻¹ = L⁻ᵀ L⁻¹, whole. */
function* inverted({ cols: n, hessian }: RefitProblem, at?: string): Steps<Float64Array> {
  const l = yield* portion(invertLower(yield* portion(cholesky(hessian.slice(), n, at), 0, 0.3), n), 0.3, 0.6);
  const inverse = new Float64Array(n * n);
  for (let k = 0; k < n; k++) {
    yield 0.6 + (0.4 * k) / n;
    for (let i = 0; i <= k; i++) {
      const factor = l[k * n + i]!;
      if (factor !== 0) for (let j = 0; j <= i; j++) inverse[i * n + j]! += factor * l[k * n + j]!;
    }
  }
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) inverse[j * n + i] = inverse[i * n + j]!;
  return inverse;
}
