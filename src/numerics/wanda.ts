import { nmMask, rowLevelMask, type Mask } from './sparsity.ts';

/**
 * Wanda's score |W[i, j]|·‖X[:, j]‖₂ (M. Sun et al., A simple and effective pruning approach, arXiv 2306.11695).
 *
 * @param weights [rows, cols] row-major, cols being the summed axis.
 * @param norms ‖X[:, j]‖₂ of each input over the calibration data; the root of the Hessian's diagonal serves as well.
 */
export function wandaScores(weights: Float32Array, cols: number, norms: ArrayLike<number>): Float32Array {
  return weights.map((w, e) => Math.abs(w) * norms[e % cols]!);
}

/** Wanda compares within each output row: a share of every row, or n of every m consecutive columns, stays. */
export function wandaMask(
  weights: Float32Array,
  [rows, cols]: readonly [number, number],
  norms: ArrayLike<number>,
  keep: { readonly share: number } | { readonly n: number; readonly m: number },
  at?: string,
): Mask {
  const scores = wandaScores(weights, cols, norms);
  if ('n' in keep) return nmMask(scores, [rows, cols], 1, keep.n, keep.m);
  return rowLevelMask(scores, [rows, cols], keep.share, at);
}
