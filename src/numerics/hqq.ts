import { codeArray, codeRange, type AffineFormat, type Codes } from './affine.ts';
import { checkFinite } from './finite.ts';
import type { Granularity } from './format.ts';
import { forEachRun, gatherGroup, groupSize, layoutOf } from './layout.ts';
import { minMaxParams, quantize } from './quantize.ts';
import { roundingMagic } from './rounding.ts';

const { abs, max, min, pow, sign } = Math;

/** By how much beta grows a round, in the reference. */
const growth = 1.01;

export interface HqqOptions {
  /** Norm of the error: below 1, so that few large errors are let be for many small ones. */
  readonly lp_norm?: number | undefined;
  readonly iters?: number | undefined;
  /**
   * `integer` keeps zero points that DequantizeLinear can hold and fits the scale instead as well; `float` is the paper's, for
   * operators that take float zero points.
   */
  readonly zero_point?: 'integer' | 'float' | undefined;
  readonly at?: string | undefined;
}

/** real = scale·(code − zero); one scale and zero each parameter of the granularity. */
export interface HqqResult {
  readonly codes: Codes;
  readonly scale: Float32Array;
  readonly zero: Float32Array;
}

/**
 * Half-quadratic quantization (H. Badri, A. Shaji, 2023; mobiusml/hqq): minimizes Σ|W − Q⁻¹(Q(W))|^p without data by splitting off
 * the outliers E of the error and alternating between a shrinkage for E and a closed form for the zero point,
 * zero = mean(codes − (W − E)/scale), with a penalty that grows (`growth`, the paper's kappa); it stops when the error does not fall. Each group
 * keeps its best state, beginning with the extremes, so the p-norm is never worse than plain rounding.
 *
 * With `integer` zero points the mean is rounded, and the scale is refitted by least squares on W − E, which the paper leaves
 * out: a rounded zero point alone has too few values to move to.
 */
export function hqq(
  data: Float32Array,
  dims: readonly number[],
  format: AffineFormat,
  granularity: Granularity,
  options: HqqOptions = {},
): HqqResult {
  const { at, zero_point: kind = 'integer' } = options;
  checkFinite(data, at);
  const layout = layoutOf(dims, granularity);
  const start = minMaxParams(data, dims, format, granularity, at);
  const scale = start.scale.slice();
  const zero = Float32Array.from(start.zeroPoint);
  const values = new Float32Array(groupSize(layout));
  for (let g = 0; g < layout.params; g++) {
    const count = gatherGroup(data, layout, g, values);
    const best = solveGroup(values.subarray(0, count), scale[g]!, zero[g]!, format, options);
    scale[g] = best.scale;
    zero[g] = best.zero;
  }
  if (kind === 'integer') {
    const params = { format, granularity, scale, zeroPoint: Int32Array.from(zero) };
    return { codes: quantize(data, dims, params), scale, zero };
  }
  return { codes: codesOf(data, dims, format, granularity, scale, zero), scale, zero };
}

function solveGroup(
  w: Float32Array,
  firstScale: number,
  firstZero: number,
  format: AffineFormat,
  { lp_norm: p = 0.7, iters = 20, zero_point: kind = 'integer' }: HqqOptions,
): { readonly scale: number; readonly zero: number } {
  const { qmin, qmax } = codeRange(format);
  const fixedZero = format.symmetric;
  const n = w.length;
  const codes = new Float64Array(n);
  let scale = firstScale;
  let zero = firstZero;
  let best = { scale, zero };
  let smallest = Infinity;
  let beta = 10;
  for (let k = 0; k <= iters; k++) {
    let error = 0;
    for (let i = 0; i < n; i++) {
      const v = w[i]!;
      const q = min(qmax, max(qmin, v / scale + zero)) + roundingMagic - roundingMagic;
      codes[i] = q;
      error += pow(abs(v - (q - zero) * scale), p);
    }
    if (error < smallest) {
      smallest = error;
      best = { scale, zero };
    } else if (k > 0) break;
    let sum = 0;
    let square = 0;
    let cross = 0;
    for (let i = 0; i < n; i++) {
      const v = w[i]!;
      const q = codes[i]!;
      const d = v - (q - zero) * scale;
      // In the weights' own unit, as the reference has it: with its beta, errors of usual size shrink to nothing.
      const size = abs(d);
      const outlier = size === 0 ? 0 : sign(d) * max(0, size - pow(size, p - 1) / beta);
      const target = v - outlier;
      sum += q - target / scale;
      square += (q - zero) * (q - zero);
      cross += target * (q - zero);
    }
    if (kind === 'integer') {
      if (!fixedZero) zero = min(qmax, max(qmin, sum / n + roundingMagic - roundingMagic));
      if (square > 0 && cross > 0) scale = Math.fround(cross / square);
    } else if (!fixedZero) zero = Math.fround(sum / n);
    beta *= growth;
  }
  return best;
}

/** saturate(round(w/scale + zero)) for zeros that are no integers. */
function codesOf(
  data: Float32Array,
  dims: readonly number[],
  format: AffineFormat,
  granularity: Granularity,
  scale: Float32Array,
  zero: Float32Array,
): Codes {
  const { qmin, qmax } = codeRange(format);
  const codes = codeArray(format, data.length);
  forEachRun(layoutOf(dims, granularity), (start, count, param, step) => {
    for (let j = start, p = param; j < start + count; j++, p += step) {
      const q = data[j]! / scale[p]! + zero[p]!;
      codes[j] = min(qmax, max(qmin, q)) + roundingMagic - roundingMagic;
    }
  });
  return codes;
}
