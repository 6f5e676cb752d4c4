import { QtoolError } from '../util/error.ts';
import { codeArray, codeRange, paramsOfRanges, type AffineFormat, type Codes } from './affine.ts';
import { checkFinite } from './finite.ts';
import type { Granularity, QuantParams } from './format.ts';
import { forEachRun, layoutOf, type Layout } from './layout.ts';
import { roundingMagic } from './rounding.ts';

const { fround } = Math;

/**
 * saturate(roundHalfEven(x / scale) + zeroPoint), bit for bit what ONNX's QuantizeLinear gives: the quotient is rounded to
 * float32 before it is rounded to an integer. NaN gives 0. `dims` are the tensor's, row-major.
 */
export function quantize(data: Float32Array, dims: readonly number[], params: QuantParams): Codes {
  const layout = checkedLayout(data.length, dims, params);
  const out = codeArray(params.format, data.length);
  const { qmin, qmax } = codeRange(params.format);
  const { scale, zeroPoint } = params;
  forEachRun(layout, (start, count, param, step) => {
    if (step === 0) {
      quantizeRun(data, out, start, start + count, scale[param]!, zeroPoint[param]!, qmin, qmax);
      return;
    }
    for (let j = 0, p = param; j < count; j++, p++) {
      const z = zeroPoint[p]!;
      let v = fround(data[start + j]! / scale[p]!);
      // The ends are integers, so clamping first is the same as clamping last and keeps the rounding trick in its range.
      if (v < qmin - z) v = qmin - z;
      else if (v > qmax - z) v = qmax - z;
      out[start + j] = v + roundingMagic - roundingMagic + z;
    }
  });
  return out;
}

/** One stretch with one scale and zero point. */
function quantizeRun(
  data: Float32Array,
  out: Codes,
  start: number,
  end: number,
  scale: number,
  zero: number,
  qmin: number,
  qmax: number,
): void {
  const lo = qmin - zero;
  const hi = qmax - zero;
  for (let i = start; i < end; i++) {
    let v = fround(data[i]! / scale);
    if (v < lo) v = lo;
    else if (v > hi) v = hi;
    out[i] = v + roundingMagic - roundingMagic + zero;
  }
}

/** (code − zeroPoint) · scale in float32, bit for bit ONNX's DequantizeLinear. */
export function dequantize(codes: Codes, dims: readonly number[], params: QuantParams): Float32Array {
  const layout = checkedLayout(codes.length, dims, params);
  const out = new Float32Array(codes.length);
  const { scale, zeroPoint } = params;
  forEachRun(layout, (start, count, param, step) => {
    for (let j = 0, p = param; j < count; j++, p += step) {
      out[start + j] = (codes[start + j]! - zeroPoint[p]!) * scale[p]!;
    }
  });
  return out;
}

/**
 * Smallest and largest element of each parameter's share of the tensor (0 to 0 for an empty share), in the order of the
 * parameters. @throws QtoolError `data` naming `at` if an element is NaN or infinite.
 */
export function groupRanges(
  data: Float32Array,
  dims: readonly number[],
  granularity: Granularity,
  at?: string,
): { readonly lo: Float32Array; readonly hi: Float32Array } {
  checkFinite(data, at);
  const layout = layoutOf(dims, granularity);
  const lo = new Float32Array(layout.params).fill(Infinity);
  const hi = new Float32Array(layout.params).fill(-Infinity);
  forEachRun(layout, (start, count, param, step) => {
    if (step === 0) {
      let low = lo[param]!;
      let high = hi[param]!;
      for (let i = start; i < start + count; i++) {
        const v = data[i]!;
        if (v < low) low = v;
        if (v > high) high = v;
      }
      lo[param] = low;
      hi[param] = high;
      return;
    }
    for (let j = 0, p = param; j < count; j++, p++) {
      const v = data[start + j]!;
      if (v < lo[p]!) lo[p] = v;
      if (v > hi[p]!) hi[p] = v;
    }
  });
  for (let p = 0; p < lo.length; p++) if (lo[p]! > hi[p]!) lo[p] = hi[p] = 0;
  return { lo, hi };
}

/** Parameters from the tensor's own extremes: plain round-to-nearest quantization. `at` names the tensor in errors. */
export function minMaxParams(
  data: Float32Array,
  dims: readonly number[],
  format: AffineFormat,
  granularity: Granularity,
  at?: string,
): QuantParams {
  const { lo, hi } = groupRanges(data, dims, granularity, at);
  return paramsOfRanges(lo, hi, format, granularity, at);
}

/**
 * The least weight scale at which a bias stored at inputScale · weightScale takes half of int32: the other half is for the sum of
 * products that integer kernels add it to.
 */
export function leastWeightScale(bias: number, inputScale: number): number {
  return (Math.abs(bias) / inputScale) * 2 ** -30;
}

/**
 * A bias as int32 with zero point 0 and scale inputScale · weightScale (per output channel, or one for all), as QLinearConv and
 * QGemm add it to their accumulator; ties to even. What does not fit is cut to the ends of int32, never wrapped: `clipped` counts
 * it, and `leastWeightScale` tells which scales avoid it.
 */
export function quantizeBias(
  bias: ArrayLike<number>,
  inputScale: number,
  weightScale: Float32Array,
): { readonly codes: Int32Array; readonly scale: Float32Array; readonly clipped: number } {
  const scale = weightScale.map((s) => inputScale * s);
  const codes = new Int32Array(bias.length);
  let clipped = 0;
  for (let i = 0; i < bias.length; i++) {
    const v = bias[i]! / scale[scale.length === 1 ? 0 : i]!;
    const code = Math.min(2147483647, Math.max(-2147483648, v));
    if (Math.abs(v - code) > 0.5) clipped++;
    codes[i] = code + roundingMagic - roundingMagic;
  }
  return { codes, scale, clipped };
}

function checkedLayout(length: number, dims: readonly number[], params: QuantParams): Layout {
  const layout = layoutOf(dims, params.granularity);
  if (layout.elements !== length) {
    throw new QtoolError('graph', `${length} elements cannot have dims [${dims.join(', ')}]`);
  }
  if (layout.params !== params.scale.length || layout.params !== params.zeroPoint.length) {
    throw new QtoolError(
      'graph',
      `dims [${dims.join(', ')}] need ${layout.params} scales and zero points, not ${params.scale.length} and ${params.zeroPoint.length}`,
    );
  }
  return layout;
}
