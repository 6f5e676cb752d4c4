import { standardDeviation, type Mask } from './sparsity.ts';

const { abs } = Math;

/** Mean and standard deviation (n − 1) of the magnitudes of a tensor: what dynamic network surgery measures thresholds in. */
export function magnitudeStatistics(data: Float32Array): { readonly mean: number; readonly deviation: number } {
  const sizes = data.map(abs);
  const mean = sizes.reduce((sum, size) => sum + size, 0) / Math.max(1, sizes.length);
  return { mean, deviation: standardDeviation(sizes) };
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
