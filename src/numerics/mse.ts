import { chooseParams, codeRange, type AffineFormat } from './affine.ts';
import { decibels } from './error.ts';
import type { Histogram } from './histogram.ts';
import { momentsOf, type Moments } from './histogram_parts.ts';
import type { Range } from './range.ts';
import { searchRange } from './range_search.ts';

const { ceil, floor, max, min } = Math;

/** The clip range whose quantizer has the least mean squared error on the histogram. */
export function mseRange(h: Histogram, format: AffineFormat): Range {
  const moments = momentsOf(h);
  return searchRange(h, format, (lo, hi) => squaredError(h, moments, lo, hi, format));
}

/** Expected (x − Q(x))² on the histogram of the quantizer that `chooseParams` makes for [lo, hi]; in the tensor's unit squared. */
export function expectedSquaredError(h: Histogram, lo: number, hi: number, format: AffineFormat): number {
  return h.count === 0 ? 0 : squaredError(h, momentsOf(h), lo, hi, format) / h.count;
}

/** SQNR in dB of that quantizer on the histogram. +∞ for data without error (all zeros), as `decibels` has it. */
export function expectedSqnr(h: Histogram, lo: number, hi: number, format: AffineFormat): number {
  return decibels(h.sumSquares, expectedSquaredError(h, lo, hi, format) * h.count);
}

/** Σ (x − Q(x))² over the histogram. A level's cell contributes M₂ − 2·r·M₁ + r²·M₀, r being the level's value. */
function squaredError(h: Histogram, moments: Moments, lo: number, hi: number, format: AffineFormat): number {
  const { scale, zeroPoint } = chooseParams(lo, hi, format);
  const { qmin, qmax } = codeRange(format);
  const step = scale / h.width;
  const bottom = qmin - zeroPoint;
  const top = qmax - zeroPoint;
  const sum = step < 1 ? fineError(h, moments, step, bottom, top) : cellError(moments, step, bottom, top);
  return max(0, sum) * h.width * h.width;
}

/** Levels `bottom`·step … `top`·step, positions in bins. */
function cellError({ first, counts, m0, m1, m2 }: Moments, step: number, bottom: number, top: number): number {
  const n = counts.length;
  // Only cells that meet the histogram.
  const from = max(bottom, min(top, floor(first / step + 0.5)));
  const to = min(top, max(bottom, ceil((first + n) / step - 0.5)));
  let sum = 0;
  let p0 = 0;
  let p1 = 0;
  let p2 = 0;
  for (let q = from; q <= to; q++) {
    const r = q * step;
    let n0: number;
    let n1: number;
    let n2: number;
    const u = q === to ? n : (q + 0.5) * step - first;
    if (u >= n) {
      n0 = m0[n]!;
      n1 = m1[n]!;
      n2 = m2[n]!;
    } else if (u <= 0) {
      n0 = n1 = n2 = 0;
    } else {
      const i = floor(u);
      const part = u - i;
      const c = counts[i]! * part;
      const x = first + i;
      // Mean of x and x² over [x, x + part].
      n0 = m0[i]! + c;
      n1 = m1[i]! + c * (x + part / 2);
      n2 = m2[i]! + c * (x * x + x * part + (part * part) / 3);
    }
    sum += n2 - p2 - 2 * r * (n1 - p1) + r * r * (n0 - p0);
    p0 = n0;
    p1 = n1;
    p2 = n2;
  }
  return sum;
}

/** Steps finer than the bins: step²/12 within the range, and the exact cost of clipping beyond it. */
function fineError(h: Histogram, moments: Moments, step: number, bottom: number, top: number): number {
  const { first, counts, m0, m1, m2 } = moments;
  const n = counts.length;
  // The outermost bins reach beyond the outermost values, which decide whether anything is clipped at all.
  const lo = (bottom - 0.5) * step <= h.min / h.width ? 0 : min(n, max(0, ceil((bottom - 0.5) * step - first)));
  const hi = (top + 0.5) * step >= h.max / h.width ? n : max(lo, min(n, floor((top + 0.5) * step - first)));
  const low = bottom * step;
  const high = top * step;
  const inside = ((m0[hi]! - m0[lo]!) * (step * step)) / 12;
  const below = m2[lo]! - 2 * low * m1[lo]! + low * low * m0[lo]!;
  const [a0, a1, a2] = [m0, m1, m2].map((m) => m[n]! - m[hi]!) as [number, number, number];
  return inside + below + a2 - 2 * high * a1 + high * high * a0;
}
