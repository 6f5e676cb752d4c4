import { codeRange, type AffineFormat } from './affine.ts';
import type { Histogram } from './histogram.ts';
import { absoluteCounts, largest, withoutPointMass, within } from './histogram_parts.ts';
import type { Range } from './range.ts';

const { ceil, floor, log, max, min } = Math;

/**
 * Clip range by the smallest Kullback-Leibler divergence between the histogram of |x| and its quantized form (S. Migacz, 8-bit
 * inference with TensorRT, GTC 2017). For each candidate i: P = the first i bins with everything beyond added to the last;
 * Q = the first i bins merged into `num_quantized_bins` levels, each level's mass spread evenly over its non-empty bins. The
 * threshold is (m + 0.5)·width for the best m. Data of one sign keeps its sign; otherwise the range is ±threshold.
 *
 * Exact zeros, as a ReLU makes them, are left out: a code stands for 0 whatever the threshold, while a spike in the first bin would
 * seem to be smeared over the first level and pull the threshold down.
 *
 * `num_quantized_bins` is the number of levels on one side of 0; it follows from the format (128 for int8, 256 for uint8 where
 * no value is negative).
 */
export function entropyRange(
  h: Histogram,
  format: AffineFormat,
  { num_quantized_bins: given }: { readonly num_quantized_bins?: number | undefined } = {},
): Range {
  const { qmin, qmax } = codeRange(format);
  const oneSided = (h.min >= 0 || h.max <= 0) && !format.symmetric;
  const levels = given ?? (oneSided ? qmax - qmin + 1 : floor((qmax - qmin + 2) / 2));
  const { counts, width } = absoluteCounts({ ...h, counts: withoutPointMass(h) });
  const m = bestBins(counts, levels);
  if (m === counts.length) return { min: h.min, max: h.max };
  const t = (m + 0.5) * width;
  return t >= largest(h) ? { min: h.min, max: h.max } : within({ min: -t, max: t }, h);
}

/**
 * The number of bins, `levels` to all, whose quantized distribution is nearest to the whole. All, if there are no more bins
 * than levels. Up to `candidates` of them are tried, evenly spread, and then all between the best one's neighbours.
 */
export function bestBins(counts: Float64Array, levels: number, candidates = 512): number {
  const n = counts.length;
  if (n <= levels) return n;
  const divergence = divergenceOf(counts, levels);
  let best = n;
  let smallest = Infinity;
  const visit = (from: number, to: number, stride: number) => {
    for (let i = from; i <= to; i += stride) {
      const d = divergence(i);
      if (d < smallest) {
        smallest = d;
        best = i;
      }
    }
  };
  const stride = ceil((n - levels + 1) / candidates);
  visit(levels, n, stride);
  if (stride > 1) {
    const middle = best;
    visit(max(levels, middle - stride + 1), min(n, middle + stride - 1), 1);
  }
  return best;
}

/**
 * D(P‖Q) of the first i bins, as a function of i. The sum over bins of P·log(P/Q) falls apart into prefix sums (of c, c·log c and
 * non-empty bins) and one logarithm a level, so that a candidate costs `levels` steps instead of i.
 */
export function divergenceOf(counts: Float64Array, levels: number): (i: number) => number {
  const n = counts.length;
  const mass = new Float64Array(n + 1);
  const massLog = new Float64Array(n + 1);
  const filled = new Int32Array(n + 1);
  const logOf = Float64Array.from({ length: ceil(n / levels) + 3 }, (_, k) => log(k));
  for (let i = 0; i < n; i++) {
    const c = counts[i]!;
    mass[i + 1] = mass[i]! + c;
    massLog[i + 1] = massLog[i]! + (c > 0 ? c * log(c) : 0);
    filled[i + 1] = filled[i]! + (c > 0 ? 1 : 0);
  }
  const total = mass[n]!;
  return (i) => {
    const kept = mass[i]!;
    const outliers = total - kept;
    const last = counts[i - 1]!;
    const lastP = last + outliers;
    const start = floor(((levels - 1) * i) / levels);
    let cross = crossTerm(mass, filled, logOf, i, levels);
    if (kept - mass[start]! + outliers > 0) {
      // The last level. Its last bin is non-empty in P if anything lies beyond; no mass of its own could not stand for that.
      const m = kept - mass[start]!;
      if (m === 0) return Infinity;
      const bins = filled[i]! - filled[start]! + (last === 0 && outliers > 0 ? 1 : 0);
      cross += (m + outliers) * log(m / bins);
    }
    const own = massLog[i]! - (last > 0 ? last * log(last) : 0) + (lastP > 0 ? lastP * log(lastP) : 0);
    return (own - cross) / total + log(kept / total);
  };
}

/** Σ m·log(m / non-empty bins) over all levels but the last. */
function crossTerm(mass: Float64Array, filled: Int32Array, logOf: Float64Array, i: number, levels: number): number {
  let cross = 0;
  let below = 0;
  let binsBelow = 0;
  for (let l = 1; l < levels; l++) {
    const end = ((l * i) / levels) | 0;
    const m = mass[end]! - below;
    if (m > 0) cross += m * (log(m) - logOf[filled[end]! - binsBelow]!);
    below = mass[end]!;
    binsBelow = filled[end]!;
  }
  return cross;
}
