import type { Histogram } from './histogram.ts';
import type { Range } from './range.ts';

const { abs, ceil, floor, max, min } = Math;

/** Entry i counts the |x| in [i·width, (i + 1)·width). */
export interface AbsoluteCounts {
  readonly width: number;
  readonly counts: Float64Array;
}

/**
 * Counts of |x|; exact, as 0 is a bin edge. Values far from 0 for their spread would need very many bins from 0 on: those get
 * wider by a power of two, until they are no more than 4096 or as many as the histogram has.
 */
export function absoluteCounts({ counts, first, width }: Histogram): AbsoluteCounts {
  const last = first + counts.length - 1;
  const most = max(4096, counts.length);
  let factor = 1;
  while (max(last + 1, -first) > most * factor) factor *= 2;
  const out = new Float64Array(ceil(max(last + 1, -first) / factor));
  for (let i = 0; i < counts.length; i++) {
    const k = first + i;
    const j = floor((k < 0 ? -k - 1 : k) / factor);
    out[j]! += counts[i]!;
  }
  return { width: width * factor, counts: out };
}

/** max |x|. */
export function largest(h: Histogram): number {
  return max(-h.min, h.max);
}

/** `range` cut to the values that occurred, and never empty. */
export function within(range: Range, h: Histogram): Range {
  const lo = min(max(range.min, h.min), h.max);
  return { min: lo, max: max(lo, min(range.max, h.max)) };
}

/**
 * Integrals of 1, x and x² over (−∞, x] under the histogram, each bin's values being spread evenly over it. Positions are in
 * bin widths, so that no digit is lost; entry i is the integral up to the left edge of bin i.
 */
export interface Moments {
  readonly first: number;
  readonly counts: Float64Array;
  readonly m0: Float64Array;
  readonly m1: Float64Array;
  readonly m2: Float64Array;
}

/**
 * Moments of the histogram with `pointMass(h)` taken out: exact zeros have no quantization error, but spread over a bin they
 * would seem to.
 */
export function momentsOf(h: Histogram): Moments {
  const counts = withoutPointMass(h);
  const n = counts.length;
  const m0 = new Float64Array(n + 1);
  const m1 = new Float64Array(n + 1);
  const m2 = new Float64Array(n + 1);
  for (let i = 0; i < n; i++) {
    const c = counts[i]!;
    const x = h.first + i;
    m0[i + 1] = m0[i]! + c;
    m1[i + 1] = m1[i]! + c * (x + 0.5);
    m2[i + 1] = m2[i]! + c * (x * x + x + 1 / 3);
  }
  return { first: h.first, counts, m0, m1, m2 };
}

/**
 * How many values are taken to be exactly 0 (as after a ReLU): what bin [0, width) holds more than the next one, or than the
 * one below 0 if that is fuller. A density without a point mass changes little from one of some thousand bins to the next.
 */
export function pointMass({ counts, first }: Histogram): number {
  const zero = counts[-first] ?? 0;
  const next = counts[1 - first] ?? 0;
  const previous = counts[-1 - first] ?? 0;
  return max(0, zero - max(next, previous));
}

/** The counts less the point mass at 0. */
export function withoutPointMass(h: Histogram): Float64Array {
  const mass = pointMass(h);
  if (mass === 0) return h.counts;
  const counts = h.counts.slice();
  counts[-h.first]! -= mass;
  return counts;
}

/** Mean |x − centre|, from the bins (each value at its bin's middle, or spread evenly where the centre is within the bin). */
export function meanDeviation(h: Histogram, centre: number): number {
  if (h.count === 0) return 0;
  const c = centre / h.width;
  let sum = 0;
  for (let i = 0; i < h.counts.length; i++) {
    const x = h.first + i;
    const inside = floor(c) === x ? ((c - x) ** 2 + (x + 1 - c) ** 2) / 2 : abs(x + 0.5 - c);
    sum += h.counts[i]! * inside;
  }
  return (sum * h.width) / h.count;
}
