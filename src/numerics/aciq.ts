import type { AffineFormat } from './affine.ts';
import type { Histogram } from './histogram.ts';
import { meanDeviation, within } from './histogram_parts.ts';
import type { Range } from './range.ts';
import { erfc, normalDensity, rootOf } from './special.ts';

const { SQRT2, exp, max, sqrt } = Math;

/**
 * Clip value over the scale parameter (σ of a Gaussian, b = mean |x − μ| of a Laplace distribution) that minimizes the mean
 * squared error of `bits`-bit uniform quantization of [−α, α], in the model of R. Banner et al., Post-training 4-bit
 * quantization (arXiv 1810.05723): noise α²/(3·4^bits) within the range, plus the expected square of what is cut off. The root
 * of the derivative, solved here. `positive` (after a ReLU all codes lie on one side): one bit more.
 */
export function aciqAlpha(distribution: 'gauss' | 'laplace', bits: number, positive = false): number {
  const grid = 3 * 4 ** (positive ? bits + 1 : bits);
  // Half the derivative each. Laplace: α/(3·4^M) − e^−α. Gauss: α/(3·4^M) + α·erfc(α/√2) − 2φ(α).
  return distribution === 'laplace'
    ? rootOf((a) => a / grid - exp(-a), 0, 60)
    : rootOf((a) => a / grid + a * erfc(a / SQRT2) - 2 * normalDensity(a), 0, 60);
}

/**
 * ACIQ's clip range. Values of both signs: mean ± α, with σ from the exact sums, b from the bins. Values that are never
 * negative are taken as max(0, z) of a z symmetric about 0, as after a ReLU: half of z is seen, so σ² = 2·E[x²] and
 * b = 2·E[|x|]; the range is 0 to α, of one bit more unless the format is symmetric. Cut to the values that occurred.
 */
export function aciqRange(h: Histogram, format: AffineFormat, distribution: 'gauss' | 'laplace'): Range {
  if (h.count === 0) return { min: 0, max: 0 };
  const { symmetric } = format;
  if (h.min >= 0) {
    const spread = distribution === 'gauss' ? sqrt((2 * h.sumSquares) / h.count) : (2 * h.sumAbs) / h.count;
    return within({ min: 0, max: aciqAlpha(distribution, format.bits, !symmetric) * spread }, h);
  }
  const mean = h.sum / h.count;
  const spread = distribution === 'gauss' ? sqrt(max(0, h.sumSquares / h.count - mean * mean)) : meanDeviation(h, mean);
  const alpha = aciqAlpha(distribution, format.bits) * spread;
  return within({ min: mean - alpha, max: mean + alpha }, h);
}

/** mean ± n standard deviations, cut to the values that occurred (Distiller's `clip_acts: N_STD`, `clip_n_stds`). */
export function stdRange(h: Histogram, { n_stds: n = 2 }: { readonly n_stds?: number | undefined } = {}): Range {
  if (h.count === 0) return { min: 0, max: 0 };
  const mean = h.sum / h.count;
  const std = sqrt(max(0, h.sumSquares / h.count - mean * mean));
  return within({ min: mean - n * std, max: mean + n * std }, h);
}
