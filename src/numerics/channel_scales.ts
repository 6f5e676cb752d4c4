import type { ChannelRange, RowSample } from './row_sample.ts';

/**
 * What the channels of a value are divided by before it is quantized, and the columns of the weights that read it multiplied by: the products stay
 * the same, their rounding does not.
 */
export type ChannelScales = Float64Array;

/** A matrix that reads the value: rows are outputs, columns channels. */
export interface Reader {
  readonly rows: number;
  readonly columns: number;
  readonly at: (row: number, column: number) => number;
}

/** max |w| of each column over all readers. */
export function columnExtremes(readers: readonly Reader[], channels: number): Float64Array {
  const largest = new Float64Array(channels);
  for (const { rows, columns, at } of readers)
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) largest[c] = Math.max(largest[c]!, Math.abs(at(r, c)));
  return largest;
}

/** max |x| of each channel. */
export function channelExtremes({ min, max }: ChannelRange): Float64Array {
  return max.map((high, c) => Math.max(high, -min[c]!, 0));
}

/**
 * SmoothQuant's scales: s_j = max|X_j|^α / max|W_j|^(1 − α) (equation 4 of arXiv 2211.10438), over their geometric mean, which no
 * scale of a tensor notices; a channel or column of zeros keeps 1.
 * @param floor max|X_j| counts as this share of the largest of all channels at least: one that was small on these samples and fires on others would
 *   widen the range for all by what it had been blown up.
 */
export function smoothingScales(inputs: Float64Array, weights: Float64Array, alpha: number, floor = 0): ChannelScales {
  const least = floor * inputs.reduce((m, x) => Math.max(m, x), 0);
  return normalized(
    weights.map((w, c) => (inputs[c]! > 0 && w > 0 ? Math.max(inputs[c]!, least) ** alpha / w ** (1 - alpha) : 1)),
  );
}

/** AWQ's scales: s_j = (E x_j²)^(α / 2) (arXiv 2306.00978 has the mean of |x_j|), over their geometric mean; a channel of zeros keeps 1. */
export function activationScales(power: Float64Array, alpha: number): ChannelScales {
  return normalized(power.map((p) => (p > 0 ? p ** (alpha / 2) : 1)));
}

function normalized(scales: Float64Array): ChannelScales {
  const mean = Math.exp(scales.reduce((sum, s) => sum + Math.log(s), 0) / Math.max(1, scales.length));
  return scales.map((s) => s / mean);
}

/**
 * The mean squared error of all readers' outputs, summed over outputs, that rounding the value (one scale a tensor) and the weights (one a
 * row) is expected to make: errors of single elements are taken as independent. Of the value's rows the error is that of rounding
 * them; a weight's is Δ²/12, at most the weight's own square.
 * @param bits of the value and of the weights.
 */
export function roundingNoise(
  sample: RowSample,
  readers: readonly Reader[],
  scales: ChannelScales,
  bits: { readonly activations: number; readonly weights: number },
): number {
  const {
    channels,
    rows,
    second: { min, max },
  } = sample;
  let [low, high] = [0, 0];
  for (const [c, s] of scales.entries()) {
    low = Math.min(low, min[c]! / s);
    high = Math.max(high, max[c]! / s);
  }
  const step = (high - low) / (2 ** bits.activations - 1) || 1;
  const count = Math.max(1, rows.length / channels);
  /** Of each channel divided by its scale: the mean square of its rounding error, and of itself. */
  const error = new Float64Array(channels);
  const power = new Float64Array(channels);
  for (let i = 0, c = 0; i < rows.length; i++, c = c + 1 === channels ? 0 : c + 1) {
    const x = rows[i]! / scales[c]!;
    const off = x - step * Math.round(x / step);
    error[c]! += (off * off) / count;
    power[c]! += (x * x) / count;
  }
  const levels = 2 ** (bits.weights - 1) - 1;
  let noise = 0;
  for (const { rows: outputs, at } of readers)
    for (let r = 0; r < outputs; r++) {
      let largest = 0;
      for (let c = 0; c < channels; c++) largest = Math.max(largest, Math.abs(at(r, c) * scales[c]!));
      const variance = (largest / levels) ** 2 / 12;
      for (let c = 0; c < channels; c++) {
        const square = (at(r, c) * scales[c]!) ** 2;
        noise += error[c]! * square + power[c]! * Math.min(variance, square);
      }
    }
  return noise;
}
