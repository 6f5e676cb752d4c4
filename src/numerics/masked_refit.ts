import { portion, type Steps } from '../util/steps.ts';
import { solveSpd } from './linalg.ts';
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
 * equations H_SS w_S = g_S of its support S. Time grows with the cube of a row's support.
 * @throws QtoolError `data` if H is not positive definite.
 */
export function* refitMasked(
  { rows, cols, hessian, goal }: RefitProblem,
  mask: Mask,
  at?: string,
): Steps<Float64Array> {
  const weights = new Float64Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    const support: number[] = [];
    for (let k = 0; k < cols; k++) if (mask[r * cols + k] !== 0) support.push(k);
    if (support.length === 0) continue;
    const n = support.length;
    const part = new Float64Array(n * n);
    const right = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      const from = support[i]! * cols;
      right[i] = goal[r * cols + support[i]!]!;
      for (let j = 0; j <= i; j++) part[i * n + j] = hessian[from + support[j]!]!;
    }
    const solved = yield* portion(solveSpd(part, n, right, 1, 0, at), r / rows, (r + 1) / rows);
    for (let i = 0; i < n; i++) weights[r * cols + support[i]!] = solved[i]!;
  }
  return weights;
}
