import { portion, type Steps } from '../../../util/steps.ts';
import { cholesky, invertLower } from '../../../numerics/linalg.ts';

/** The inverse of a symmetric positive definite matrix, [n, n] row-major: A⁻¹ = L⁻ᵀ L⁻¹. @throws as `cholesky`. */
export function* invertPositive(a: Float64Array, n: number): Steps<Float64Array> {
  const l = yield* portion(cholesky(a.slice(), n), 0, 0.3);
  const x = yield* portion(invertLower(l, n), 0.3, 0.6);
  const result = new Float64Array(n * n);
  // Row by row of L⁻¹, so that memory is read in order.
  for (let k = 0; k < n; k++) {
    addProducts(result, x, n, k);
    yield 0.6 + 0.4 * (k / n) ** 3;
  }
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) result[j * n + i] = result[i * n + j]!;
  return result;
}

/** result += the lower triangle of row k of x, as a column, times itself. */
function addProducts(result: Float64Array, x: Float64Array, n: number, k: number): void {
  for (let i = 0; i <= k; i++) {
    const f = x[k * n + i]!;
    if (f === 0) continue;
    const [to, from] = [i * n, k * n];
    for (let j = 0; j <= i; j++) result[to + j] = result[to + j]! + f * x[from + j]!;
  }
}
