import { QtoolError } from '../util/error.ts';
import { portion, type Steps } from '../util/steps.ts';
import { batch, flush, inverseFactor, spread } from './obs.ts';
import { levelMask, nmMask, rowLevelMask, type Mask } from './sparsity.ts';

const { min } = Math;

export interface SparseGptOptions {
  /** Share of weights to prune in each block of columns; of each row's part of it (`row`) or of all rows together (`layer`). */
  readonly share?: number | undefined;
  readonly scope?: 'row' | 'layer' | undefined;
  /** Instead of a share: keep n of every m consecutive columns. */
  readonly pattern?: { readonly n: number; readonly m: number } | undefined;
  /** Columns whose mask is chosen at once, from weights as updated so far (128 in SparseGPT). */
  readonly block?: number | undefined;
  readonly damping?: number | undefined;
  /** A mask chosen before; then only the weights are updated. */
  readonly mask?: Mask | undefined;
  readonly at?: string | undefined;
}

export interface SparseGptResult {
  readonly weights: Float32Array;
  readonly mask: Mask;
}

/**
 * Prunes a weight matrix and updates what is left so that the layer's output changes least (E. Frantar, D. Alistarh, SparseGPT,
 * arXiv 2301.00774; optimal brain surgeon). Columns are taken from left to right in blocks: in each, the weights of smallest
 * w²/[H⁻¹]ⱼⱼ (of the columns not yet done) go, and each removal is made up for by all later columns.
 *
 * @param weights [rows, cols] row-major, cols being the summed axis.
 * @param hessian Σ x·xᵀ over the inputs, [cols, cols], any positive multiple of it.
 * @throws QtoolError `graph` if sizes do not match, `schedule` if there is nothing to choose by, `data` if H is not positive definite.
 */
export function* sparsegpt(
  weights: Float32Array,
  [rows, cols]: readonly [number, number],
  hessian: Float64Array,
  options: SparseGptOptions,
): Steps<SparseGptResult> {
  const { share, scope = 'layer', pattern, damping = 0.01, at } = options;
  if (weights.length !== rows * cols || hessian.length !== cols * cols) {
    throw new QtoolError('graph', `weights of ${rows} × ${cols} need a Hessian of ${cols} × ${cols}`, { at });
  }
  if (share === undefined && pattern === undefined && options.mask === undefined) {
    throw new QtoolError('schedule', 'pruning needs a share, an N:M pattern or a mask', { at });
  }
  // A block must hold whole groups of m columns.
  const unit = pattern?.m ?? 1;
  const block = Math.max(1, Math.floor((options.block ?? 128) / unit)) * unit;
  // The factor takes cols³/3 multiplications, each row cols²/2.
  const factor = (2 * cols) / (2 * cols + 3 * rows);
  const u = yield* portion(inverseFactor(hessian, cols, damping, at), 0, factor);
  // Rows are worked on by four.
  const w = new Float64Array(Math.ceil(rows / 4) * 4 * cols);
  w.set(weights);
  const mask = options.mask?.slice() ?? new Uint8Array(weights.length).fill(1);
  const errors = new Float64Array(4 * batch);
  for (let first = 0; first < cols; first += block) {
    const end = min(cols, first + block);
    if (options.mask === undefined) choose(first, end);
    for (let row = 0; row < rows; row += 4) {
      for (let start = first; start < end; start += batch) {
        const stop = min(end, start + batch);
        take(row, start, stop);
        yield factor + (1 - factor) * ((first + ((end - first) * row) / rows) / cols);
      }
    }
  }
  return { weights: Float32Array.from(mask, (m, e) => (m === 0 ? 0 : w[e]!)), mask };

  /** Takes columns start … stop − 1 of four rows and carries what is lost on. */
  function take(row: number, start: number, stop: number): void {
    for (let j = start; j < stop; j++) {
      const d = u[j * cols + j]!;
      for (let r = 0; r < 4; r++) {
        const e = (row + r) * cols + j;
        errors[r * batch + j - start] = mask[e] === 0 ? w[e]! / d : 0;
      }
      spread(w, row * cols, cols, u, j, stop, errors, j - start);
    }
    flush(w, row * cols, cols, u, start, stop, errors);
  }

  function choose(first: number, end: number): void {
    const width = end - first;
    const scores = new Float32Array(rows * width);
    for (let r = 0; r < rows; r++) {
      for (let j = first; j < end; j++) {
        scores[r * width + j - first] = (w[r * cols + j]! / u[j * cols + j]!) ** 2;
      }
    }
    const chosen =
      pattern !== undefined
        ? nmMask(scores, [rows, width], 1, pattern.n, pattern.m)
        : scope === 'layer'
          ? levelMask(scores, share!, at)
          : rowLevelMask(scores, [rows, width], share!, at);
    for (let r = 0; r < rows; r++) mask.set(chosen.subarray(r * width, (r + 1) * width), r * cols + first);
  }
}
