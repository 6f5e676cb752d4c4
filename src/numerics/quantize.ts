import { QtoolError } from '../util/error.ts';
import { chooseParams, codeArray, codeRange, paramsOfRanges, type AffineFormat, type Codes } from './affine.ts';
import { checkFinite, throwNotFinite } from './finite.ts';
import type { Granularity, QuantParams } from './format.ts';
import { forEachRun, layoutOf, type Layout } from './layout.ts';
import { roundingMagic } from './rounding.ts';
import { toRows, type RowView } from './rows.ts';

const { fround } = Math;

/**
 * saturate(roundHalfEven(x / scale) + zeroPoint), bit for bit what ONNX's QuantizeLinear gives: the quotient is rounded to
 * float32 before it is rounded to an integer. NaN gives 0. `dims` are the tensor's, row-major.
 */
export function quantize(data: Float32Array, dims: readonly number[], params: QuantParams): Codes {
  const layout = checkedLayout(data.length, dims, params);
  const out = codeArray(params.format, data.length);
  const range = codeRange(params.format);
  const { qmin, qmax } = range;
  const { scale, zeroPoint } = params;
  forEachRun(layout, (start, count, param, step) => {
    if (step === 0) {
      quantizeRun(data, start, count, out, start, scale[param]!, zeroPoint[param]!, range);
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
  from: number,
  count: number,
  out: Codes,
  to: number,
  scale: number,
  zero: number,
  { qmin, qmax }: { readonly qmin: number; readonly qmax: number },
): void {
  const lo = qmin - zero;
  const hi = qmax - zero;
  for (let i = from, o = to; i < from + count; i++, o++) {
    let v = fround(data[i]! / scale);
    if (v < lo) v = lo;
    else if (v > hi) v = hi;
    out[o] = v + roundingMagic - roundingMagic + zero;
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

/** Elements that are gathered at once, and the fewest rows of them: side by side in the tensor, they share what a cache loads. */
const [elementsAtOnce, fewestRows] = [8192, 16];

/**
 * `minMaxParams` and `quantize` of a weight as rows [rows, columns], bit for bit, in one walk over the tensor: what some rows have
 * of a group is gathered into an array that stays in the processor's cache.
 * @param granularity a scale a row, or one a group along axis 1.
 * @throws QtoolError `data` naming `at` if an element is NaN or infinite.
 */
export function roundToNearest(
  data: Float32Array,
  view: RowView,
  format: AffineFormat,
  granularity: Exclude<Granularity, { per: 'tensor' }>,
  at?: string,
): { readonly codes: Codes; readonly params: QuantParams } {
  const { rows, columns } = view;
  const width = granularity.per === 'group' ? granularity.size : columns;
  const count = layoutOf([rows, columns], granularity).params / Math.max(1, rows);
  const codes = codeArray(format, rows * columns);
  const scale = new Float32Array(rows * count);
  const zeroPoint = new Int32Array(rows * count);
  const range = codeRange(format);
  const rowsAtOnce = Math.max(fewestRows, Math.floor(elementsAtOnce / Math.max(1, width)));
  const block = new Float32Array(width * rowsAtOnce);
  for (let top = 0; top < rows; top += rowsAtOnce)
    for (let b = 0; b < count; b++) {
      const left = b * width;
      const length = Math.min(width, columns - left);
      const bottom = Math.min(rows, top + rowsAtOnce);
      gather(data, view, top, bottom, left, length, block);
      for (let r = top, from = 0; r < bottom; r++, from += length) {
        let [low, high, sum] = [0, 0, 0];
        for (let i = from; i < from + length; i++) {
          const v = block[i]!;
          sum += v * 0;
          if (v < low) low = v;
          if (v > high) high = v;
        }
        if (sum !== 0) throwNotFinite(toRows(data, view), at);
        const chosen = chooseParams(low, high, format, at, range);
        const p = r * count + b;
        scale[p] = chosen.scale;
        zeroPoint[p] = chosen.zeroPoint;
        quantizeRun(block, from, length, codes, r * columns + left, chosen.scale, chosen.zeroPoint, range);
      }
    }
  return { codes, params: { format, granularity, scale, zeroPoint } };
}

/** Elements of some rows and columns of a matrix, row by row. */
function gather(
  data: Float32Array,
  { rowStart, columnStep }: RowView,
  top: number,
  bottom: number,
  left: number,
  length: number,
  out: Float32Array,
): void {
  if (columnStep.length > 1 && columnStep[1] === 1) {
    for (let r = top, i = 0; r < bottom; r++) {
      const start = rowStart[r]!;
      for (let c = left; c < left + length; c++) out[i++] = data[start + columnStep[c]!]!;
    }
    return;
  }
  for (let c = left; c < left + length; c++) {
    const step = columnStep[c]!;
    for (let r = top, i = c - left; r < bottom; r++, i += length) out[i] = data[rowStart[r]! + step]!;
  }
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
