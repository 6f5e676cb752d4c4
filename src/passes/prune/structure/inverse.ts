import { cholesky, invertLower } from '../../../numerics/linalg.ts';

/** The inverse of a symmetric positive definite matrix, [n, n] row-major: A⁻¹ = L⁻ᵀ L⁻¹. @throws as `cholesky`. */
export function invertPositive(a: Float64Array, n: number): Float64Array {
  const x = invertLower(cholesky(a.slice(), n), n);
  const result = new Float64Array(n * n);
  // Row by row of L⁻¹, so that memory is read in order.
  for (let k = 0; k < n; k++)
    for (let i = 0; i <= k; i++) {
      const f = x[k * n + i]!;
      if (f === 0) continue;
      const [to, from] = [i * n, k * n];
      for (let j = 0; j <= i; j++) result[to + j] = result[to + j]! + f * x[from + j]!;
    }
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) result[j * n + i] = result[i * n + j]!;
  return result;
}
