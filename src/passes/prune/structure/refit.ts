import { portion, type Steps } from '../../../util/steps.ts';
import type { Problem } from './eliminate.ts';
import type { Moments } from '../../moments.ts';
import { centredGram } from './problems.ts';

/**
 * The least-squares problem of one group of a layer. Means are taken out of both sides where the layer may have a bias: the best
 * bias is then mean(y) − W mean(x). The ridge pulls towards the layer's own weights, not towards zero, so that directions the
 * data does not show keep what they were. `own` is [rows, K]; `ridge` in units of the mean diagonal of the Gram matrix.
 */
export function* leastSquares(
  moments: Moments,
  group: number,
  own: Float64Array,
  { ridge, bias }: { readonly ridge: number; readonly bias: boolean },
): Steps<Problem> {
  const { size, rows, count } = moments;
  const at = group * size;
  const mean = (sum: Float64Array, i: number): number => (bias ? sum[i]! / count : 0);
  const { lambda, inverse } = yield* portion(centredGram(moments, group, ridge, bias), 0, 0.5);
  const cross = new Float64Array(rows * size);
  let power = 0;
  for (let r = 0; r < rows; r++) {
    const out = group * rows + r;
    power += moments.power[out]! - count * mean(moments.targetSum, out) ** 2;
    for (let k = 0; k < size; k++)
      cross[r * size + k] =
        moments.target[out * size + k]! - count * mean(moments.targetSum, out) * mean(moments.sum, at + k);
  }
  const weights = new Float64Array(rows * size);
  let error = power;
  for (let r = 0; r < rows; r++) {
    yield 0.5 + (0.5 * r) / rows;
    for (let k = 0; k < size; k++) {
      const t = cross[r * size + k]! + lambda * own[r * size + k]!;
      error += lambda * own[r * size + k]! ** 2;
      if (t === 0) continue;
      for (let j = 0; j < size; j++) weights[r * size + j] = weights[r * size + j]! + t * inverse[k * size + j]!;
    }
  }
  for (let r = 0; r < rows; r++)
    for (let k = 0; k < size; k++)
      error -= weights[r * size + k]! * (cross[r * size + k]! + lambda * own[r * size + k]!);
  return { rows, size, weights, inverse, power: Math.max(power, 1e-12), error: Math.max(error, 0) };
}

/** The bias that goes with refitted weights: mean(y) − W mean(x), one a row of the group. */
export function bestBias(moments: Moments, group: number, { weights, rows, size }: Problem): Float64Array {
  const { count } = moments;
  return Float64Array.from({ length: rows }, (_, r) => {
    let bias = moments.targetSum[group * rows + r]! / count;
    for (let k = 0; k < size; k++) bias -= (weights[r * size + k]! * moments.sum[group * size + k]!) / count;
    return bias;
  });
}
