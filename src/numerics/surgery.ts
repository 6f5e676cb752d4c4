import type { Mask } from './sparsity.ts';

const { abs, sqrt } = Math;

/** Mean and standard deviation (n − 1) of the magnitudes of a tensor: what dynamic network surgery measures thresholds in. */
export function magnitudeStatistics(data: Float32Array): { readonly mean: number; readonly deviation: number } {
  let sum = 0;
  for (const w of data) sum += abs(w);
  const mean = sum / Math.max(1, data.length);
  let squares = 0;
  for (const w of data) squares += (abs(w) - mean) ** 2;
  return { mean, deviation: data.length < 2 ? 0 : sqrt(squares / (data.length - 1)) };
}

/**
 * Guo et al. 2016 (arXiv 1608.04493), equation 3: 0 where |w| < low, 1 where |w| ≥ high, and the mask as it was between them,
 * so that weights near a single threshold do not come and go.
 */
export function dynamicMask(data: Float32Array, mask: Mask, low: number, high: number): Mask {
  return mask.map((old, i) => {
    const size = abs(data[i]!);
    return size >= high ? 1 : size < low ? 0 : old;
  });
}
