import { QtoolError } from '../util/error.ts';
import { chooseParams, codeRange, type AffineFormat } from './affine.ts';
import type { Histogram } from './histogram.ts';
import { withoutPointMass } from './histogram_parts.ts';
import type { Range } from './range.ts';
import { mseRange } from './mse.ts';
import { searchRange } from './range_search.ts';
import { roundingMagic } from './rounding.ts';

const { abs, max, min, pow } = Math;

const tableSize = 1024;

/**
 * The clip range whose quantizer has the least mean |x − Q(x)|^p on the histogram. p = 2 is the squared error (`mseRange` is
 * exact and faster for it), 2.4 and 3 are usual for low widths (LAPQ, BRECQ).
 *
 * @throws QtoolError `schedule` if p is not positive.
 */
export function lpRange(
  h: Histogram,
  format: AffineFormat,
  { p = 2.4 }: { readonly p?: number | undefined } = {},
): Range {
  if (!(p > 0 && p < Infinity)) throw new QtoolError('schedule', `the exponent p is a positive number, not ${p}`);
  return searchRange(h, format, lpCost(h, format, p), mseRange(h, format));
}

/**
 * Σ |x − Q(x)|^p over the histogram of the quantizer that `chooseParams` makes for [lo, hi], or some number above `bound`. One sample point a bin stands for its values, four where a step has few bins. Within the range the power of a rounding error is read off a table.
 */
export function lpCost(
  h: Histogram,
  format: AffineFormat,
  p: number,
): (lo: number, hi: number, bound: number) => number {
  const counts = withoutPointMass(h);
  const { first, width } = h;
  const { qmin, qmax } = codeRange(format);
  const power = Float64Array.from({ length: tableSize + 2 }, (_, i) => pow(i / (2 * tableSize), p));
  return (lo, hi, bound) => {
    const { scale, zeroPoint } = chooseParams(lo, hi, format);
    const step = scale / width;
    const bottom = qmin - zeroPoint;
    const top = qmax - zeroPoint;
    const unit = pow(scale, p);
    const n = counts.length;
    const start = min(n, max(0, Math.ceil((bottom - 0.5) * step) - first));
    const end = max(start, min(n, Math.floor((top + 0.5) * step) - first));
    let clipped = 0;
    // From the outside in, where it costs most: a hopeless range is given up early.
    for (let i = 0; i < start; i++) {
      const c = counts[i]!;
      if (c !== 0) clipped += c * pow(bottom - (first + i + 0.5) / step, p);
      if (clipped * unit > bound) return clipped * unit;
    }
    for (let i = n - 1; i >= end; i--) {
      const c = counts[i]!;
      if (c !== 0) clipped += c * pow(abs((first + i + 0.5) / step - top), p);
      if (clipped * unit > bound) return clipped * unit;
    }
    const samplesPerBin = step < 6 ? 4 : 1;
    let inside = 0;
    for (let i = start; i < end; i++) {
      const c = counts[i]! / samplesPerBin;
      for (let s = 0; s < samplesPerBin; s++) {
        const x = (first + i + (s + 0.5) / samplesPerBin) / step;
        const t = abs(x - (x + roundingMagic - roundingMagic)) * 2 * tableSize;
        const j = t | 0;
        const low = power[j]!;
        inside += c * (low + (t - j) * (power[j + 1]! - low));
      }
    }
    return (clipped + inside) * unit;
  };
}
