import { finished } from '../../../util/steps.ts';
import { invertPositive } from './inverse.ts';

/**
 * A least-squares layer from which whole blocks of columns are taken one after another, the rest always refitted:
 * min over W of ‖Y − W X‖² + λ‖W − W₀‖². With H = X Xᵀ + λI, taking block B away raises the minimum by
 * tr(W_B (H⁻¹_BB)⁻¹ W_Bᵀ), and W and H⁻¹ are updated in place (block optimal brain surgeon: Hassibi & Stork 1993; for
 * structures Kurtic et al. 2023, ZipLM, arXiv 2302.04089).
 */
export interface Problem {
  /** Outputs and columns. */
  readonly rows: number;
  readonly size: number;
  /** The weights that are best for the columns left, [rows, size]; 0 in columns that are gone. */
  readonly weights: Float64Array;
  /** (X_S X_Sᵀ + λI)⁻¹ of the columns left, [size, size]; 0 elsewhere. */
  readonly inverse: Float64Array;
  /** Σ‖y − mean‖², what errors are measured against. */
  readonly power: number;
  /** ‖Y − W X‖² + λ‖W − W₀‖² at the best weights, before anything was taken away. */
  readonly error: number;
}

/** How much the error rises when a block of columns goes. */
export function blockCost(problem: Problem, block: readonly number[]): number {
  const { rows, size, weights } = problem;
  const inner = blockInverse(problem, block);
  const n = block.length;
  let cost = 0;
  for (let r = 0; r < rows; r++)
    for (let i = 0; i < n; i++) {
      const w = weights[r * size + block[i]!] as number;
      if (w === 0) continue;
      let dot = 0;
      for (let j = 0; j < n; j++) dot += inner[i * n + j]! * weights[r * size + block[j]!]!;
      cost += w * dot;
    }
  return cost;
}

/** Takes a block of columns away and refits the others. */
export function takeBlock(problem: Problem, block: readonly number[]): void {
  const { rows, size, weights, inverse } = problem;
  const n = block.length;
  const inner = blockInverse(problem, block);
  // F = (H⁻¹_BB)⁻¹ H⁻¹_B:, [n, size]
  const factor = new Float64Array(n * size);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) {
      const f = inner[i * n + j]!;
      const from = block[j]! * size;
      for (let k = 0; k < size; k++) factor[i * size + k] = factor[i * size + k]! + f * inverse[from + k]!;
    }
  subtract(weights, rows, size, block, factor);
  subtract(inverse, size, size, block, factor);
  // What is left there is rounding.
  for (const b of block) {
    for (let r = 0; r < rows; r++) weights[r * size + b] = 0;
    for (let k = 0; k < size; k++) inverse[b * size + k] = inverse[k * size + b] = 0;
  }
}

/** M ← M − M_:B F. */
function subtract(m: Float64Array, rows: number, size: number, block: readonly number[], factor: Float64Array): void {
  for (let r = 0; r < rows; r++) {
    const row = r * size;
    const picked = block.map((b) => m[row + b]!);
    for (let i = 0; i < block.length; i++) {
      const f = picked[i]!;
      if (f === 0) continue;
      const from = i * size;
      for (let k = 0; k < size; k++) m[row + k] = m[row + k]! - f * factor[from + k]!;
    }
  }
}

function blockInverse({ inverse, size }: Problem, block: readonly number[]): Float64Array {
  const n = block.length;
  const part = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) part[i * n + j] = inverse[block[i]! * size + block[j]!] as number;
  return finished(invertPositive(part, n));
}
