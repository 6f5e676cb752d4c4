import { QtoolError } from '../util/error.ts';
import type { Granularity, NumberFormat, QuantParams } from './format.ts';
import { roundHalfEven } from './rounding.ts';

const { fround, max, min } = Math;

/** The formats that a scale and a zero point describe. */
export type AffineFormat = QuantParams['format'];
/** Quantized values, one element each, in the smallest array that holds the format. */
export type Codes = Int8Array | Uint8Array | Int16Array | Uint16Array;

const smallestNormal = 2 ** -126; // of float32

/** Narrows a NumberFormat to one with a scale. @throws QtoolError `schedule` for the others and for widths outside 2 to 16. */
export function affineFormat(format: NumberFormat): AffineFormat {
  if (format.kind !== 'int') {
    const what = format.kind === 'format' ? format.format.name : `a ${format.kind} format`;
    throw new QtoolError('schedule', `${what} has no scale and zero point`, {
      hint: 'a plan of number formats is for FormatQuantizer',
    });
  }
  if (!Number.isInteger(format.bits) || format.bits < 2 || format.bits > 16) {
    throw new QtoolError('schedule', `an integer format has 2 to 16 bits, not ${format.bits}`);
  }
  return format;
}

/** Smallest and largest code. `narrow` leaves out the lowest one, so that a signed range is symmetric (int8: −127..127). */
export function codeRange(format: AffineFormat): { readonly qmin: number; readonly qmax: number } {
  const { bits, signed } = format;
  const narrow = format.narrow === true ? 1 : 0;
  return signed ? { qmin: narrow - 2 ** (bits - 1), qmax: 2 ** (bits - 1) - 1 } : { qmin: narrow, qmax: 2 ** bits - 1 };
}

/** An array for `length` codes: widths up to 8 take a byte an element, wider ones two. */
export function codeArray(format: AffineFormat, length: number): Codes {
  if (format.bits <= 8) return format.signed ? new Int8Array(length) : new Uint8Array(length);
  return format.signed ? new Int16Array(length) : new Uint16Array(length);
}

/**
 * Scale and zero point for reals in [lo, hi], as onnxruntime's quantizer chooses them (quant_utils.compute_scale_zp): the range
 * is widened to hold 0, so that 0 is exactly a code; `symmetric` widens it to ±max|·| with the zero point in the middle of the
 * codes. The zero point is taken from the scale before that is rounded to float32. A range too small for a normal float32 scale
 * (all zeros, denormals) gives scale 1 and the code of 0.
 *
 * @throws QtoolError `data` if a bound is NaN or infinite, or lo > hi; `at` names the tensor.
 */
export function chooseParams(
  lo: number,
  hi: number,
  format: AffineFormat,
  at?: string,
  { qmin, qmax } = codeRange(format),
): { readonly scale: number; readonly zeroPoint: number } {
  if (!(lo <= hi) || !Number.isFinite(lo) || !Number.isFinite(hi)) {
    throw new QtoolError('data', `no scale can be chosen for the range ${lo} to ${hi}`, {
      at,
      hint: 'both ends must be finite numbers; look for NaN or infinity in the weights or the calibration data',
    });
  }
  const low = min(lo, 0);
  const high = max(hi, 0);
  const middle = roundHalfEven((qmin + qmax) / 2);
  const zero = format.symmetric ? middle : max(qmin, 0);
  const width = format.symmetric ? 2 * max(-low, high) : high - low;
  const step = width / (qmax - qmin);
  const scale = fround(step);
  if (scale < smallestNormal) return { scale: 1, zeroPoint: zero };
  if (scale === Infinity) {
    throw new QtoolError('data', `the range ${lo} to ${hi} is too wide for a float32 scale`, { at });
  }
  if (format.symmetric) return { scale, zeroPoint: zero };
  return { scale, zeroPoint: min(qmax, max(qmin, roundHalfEven(qmin - low / step))) };
}

/** `chooseParams` for each pair of `lo` and `hi`, which are in the order `layoutOf(dims, granularity)` numbers parameters. */
export function paramsOfRanges(
  lo: ArrayLike<number>,
  hi: ArrayLike<number>,
  format: AffineFormat,
  granularity: Granularity,
  at?: string,
): QuantParams {
  const scale = new Float32Array(lo.length);
  const zeroPoint = new Int32Array(lo.length);
  const range = codeRange(format);
  for (let i = 0; i < lo.length; i++) {
    const chosen = chooseParams(lo[i]!, hi[i]!, format, at, range);
    scale[i] = chosen.scale;
    zeroPoint[i] = chosen.zeroPoint;
  }
  return { format, granularity, scale, zeroPoint };
}
