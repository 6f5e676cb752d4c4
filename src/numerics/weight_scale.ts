import { chooseParams, codeRange, type AffineFormat } from './affine.ts';
import { checkFinite } from './finite.ts';
import type { Granularity, QuantParams } from './format.ts';
import { gatherGroup, groupSize, layoutOf } from './layout.ts';
import { rangeWithZero } from './minmax.ts';
import { roundingMagic } from './rounding.ts';

const { fround, max, min, sqrt } = Math;

/**
 * Scales and zero points that minimize each channel's or group's Σ (w − Q(w))². The range is shrunk from the extremes down to a
 * tenth: a grid first, then golden section; formats with a free zero point shrink both ends together, then each end alone. Never
 * worse than the extremes themselves.
 *
 * @throws QtoolError `data` if an element is NaN or infinite.
 */
export function searchParams(
  data: Float32Array,
  dims: readonly number[],
  format: AffineFormat,
  granularity: Granularity,
  at?: string,
): QuantParams {
  checkFinite(data, at);
  const layout = layoutOf(dims, granularity);
  const scale = new Float32Array(layout.params);
  const zeroPoint = new Int32Array(layout.params);
  const values = new Float32Array(groupSize(layout));
  for (let g = 0; g < layout.params; g++) {
    const count = gatherGroup(data, layout, g, values);
    const best = bestParams(values.subarray(0, count), format, at);
    scale[g] = best.scale;
    zeroPoint[g] = best.zeroPoint;
  }
  return { format, granularity, scale, zeroPoint };
}

interface Params {
  readonly scale: number;
  readonly zeroPoint: number;
}

/** The same for the values of one group, as GPTQ's `choose` wants it: `(values) => bestParams(values, format)`. */
export function bestParams(values: Float32Array, format: AffineFormat, at?: string): Params {
  const [lo, hi] = rangeWithZero(values);
  let best = chooseParams(lo, hi, format, at);
  let smallest = groupError(values, best, format, Infinity);
  if (smallest === 0) return best;
  const attempt = (a: number, b: number): number => {
    const params = chooseParams(a, b, format, at);
    const e = groupError(values, params, format, smallest);
    if (e < smallest) {
      smallest = e;
      best = params;
    }
    return e;
  };
  let a = lo;
  let b = hi;
  const both = shrink((x) => attempt(lo * x, hi * x), 0.1, 1, 36);
  [a, b] = [lo * both, hi * both];
  if (!format.symmetric && lo < 0 && hi > 0) {
    a *= shrink((x) => attempt(a * x, b), 0.7, min(1 / both, 1.3), 12);
    b *= shrink((x) => attempt(a, b * x), 0.7, min(1 / both, 1.3), 12);
  }
  return best;
}

/** The x in [from, to] of least cost: the best of `points` evenly spaced ones, refined within its neighbours. */
function shrink(cost: (x: number) => number, from: number, to: number, points: number): number {
  const gap = (to - from) / points;
  let best = to;
  let smallest = Infinity;
  for (let i = points; i >= 0; i--) {
    const x = from + i * gap;
    const c = cost(x);
    if (c < smallest) [smallest, best] = [c, x];
  }
  const golden = (sqrt(5) - 1) / 2;
  let lo = max(from, best - gap);
  let hi = min(to, best + gap);
  for (let i = 0; i < 8; i++) {
    const a = hi - golden * (hi - lo);
    const b = lo + golden * (hi - lo);
    const ca = cost(a);
    const cb = cost(b);
    if (ca < smallest) [smallest, best] = [ca, a];
    if (cb < smallest) [smallest, best] = [cb, b];
    if (ca < cb) hi = b;
    else lo = a;
  }
  return best;
}

/** Σ (v − Q(v))²; gives up with a partial sum once that is above `bound`. */
function groupError(values: Float32Array, { scale, zeroPoint }: Params, format: AffineFormat, bound: number): number {
  const { qmin, qmax } = codeRange(format);
  const lo = qmin - zeroPoint;
  const hi = qmax - zeroPoint;
  let sum = 0;
  for (let start = 0; start < values.length && sum <= bound; start += 256) {
    for (let i = start, end = min(values.length, start + 256); i < end; i++) {
      const v = values[i]!;
      let q = fround(v / scale);
      if (q < lo) q = lo;
      else if (q > hi) q = hi;
      const e = v - (q + roundingMagic - roundingMagic) * scale;
      sum += e * e;
    }
  }
  return sum;
}
