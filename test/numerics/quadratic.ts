import { random } from '../helpers/models.ts';

/** A row's problem: G = A Aᵀ + 0.1 I positive definite, weights w within ±bound, and the target t = w G. */
export function quadratic(seed: number, size: number, bound: number) {
  const next = random(seed);
  const a = Array.from({ length: size }, () => Array.from({ length: size }, () => next() - 0.3));
  const gram = new Float64Array(size * size);
  for (let i = 0; i < size; i++)
    for (let j = 0; j < size; j++)
      gram[i * size + j] = a[i]!.reduce((sum, v, k) => sum + v * a[j]![k]!, 0) + (i === j ? 0.1 : 0);
  const w = Float64Array.from({ length: size }, () => 2 * bound * next() - bound);
  const target = w.map((_, j) => w.reduce((sum, v, i) => sum + v * gram[i * size + j]!, 0));
  return { gram, w, target };
}
