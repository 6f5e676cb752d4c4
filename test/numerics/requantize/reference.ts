import type { AddScales } from '../../../src/numerics/requantize/scheme.ts';

/** The published definitions in BigInt, line by line, and nothing of the code under test. */

export const int32Max = 2147483647;
export const int32Min = -2147483648;

const wrapped = (x: bigint): number => Number(BigInt.asIntN(32, x));

/** gemmlowp fixedpoint/fixedpoint.h: BigInt division truncates toward zero, as C's. */
export function saturatingRoundingDoublingHighMul(a: number, b: number): number {
  if (a === b && a === int32Min) return int32Max;
  const ab = BigInt(a) * BigInt(b);
  const nudge = ab >= 0n ? 1n << 30n : 1n - (1n << 30n);
  return wrapped((ab + nudge) / (1n << 31n));
}

export function roundingDivideByPOT(x: number, exponent: number): number {
  const mask = (1n << BigInt(exponent)) - 1n;
  const remainder = BigInt(x) & mask;
  const threshold = (mask >> 1n) + (x < 0 ? 1n : 0n);
  return wrapped((BigInt(x) >> BigInt(exponent)) + (remainder > threshold ? 1n : 0n));
}

/** frexp and std::round, exact in BigInt. */
export function quantizeMultiplier(real: number): { multiplier: number; shift: number } {
  if (real === 0) return { multiplier: 0, shift: 0 };
  let [fraction, shift] = [real, 0];
  while (fraction >= 1) [fraction, shift] = [fraction / 2, shift + 1];
  while (fraction < 0.5) [fraction, shift] = [fraction * 2, shift - 1];
  let multiplier = BigInt(Math.floor(fraction * 2 ** 53)); // 53 bits: exact.
  multiplier = (multiplier + (1n << 21n)) >> 22n;
  if (multiplier === 1n << 31n) [multiplier, shift] = [multiplier / 2n, shift + 1];
  return shift < -31 ? { multiplier: 0, shift: 0 } : { multiplier: Number(multiplier), shift };
}

/** TensorFlow Lite, kernels/internal/common.cc, without TFLITE_SINGLE_ROUNDING. */
export function doubleRounding(x: number, real: number): number {
  const { multiplier, shift } = quantizeMultiplier(real);
  const shifted = wrapped(BigInt(x) * (1n << BigInt(Math.max(0, shift))));
  return roundingDivideByPOT(saturatingRoundingDoublingHighMul(shifted, multiplier), Math.max(0, -shift));
}

/** CMSIS-NN arm_nn_doubling_high_mult_no_sat, then arm_nn_divide_by_power_of_two, whose threshold asks the sign of the quotient. */
export function cmsisDouble(x: number, real: number): number {
  const { multiplier, shift } = quantizeMultiplier(real);
  const shifted = wrapped(BigInt(x) * (1n << BigInt(Math.max(0, shift))));
  const product = wrapped(((1n << 30n) + BigInt(shifted) * BigInt(multiplier)) >> 31n);
  const exponent = BigInt(Math.max(0, -shift));
  const mask = (1n << exponent) - 1n;
  const result = BigInt(product) >> exponent;
  const threshold = (mask >> 1n) + (result < 0n ? 1n : 0n);
  return wrapped(result + ((BigInt(product) & mask) > threshold ? 1n : 0n));
}

export const roundedShift = (x: number, multiplier: number, shift: number): number =>
  Number((BigInt(x) * BigInt(multiplier) + (1n << BigInt(shift - 1))) >> BigInt(shift));

/** What must fit int32 by the libraries' own assertions is cut to its ends here. */
const cut = (x: number): number => Math.max(int32Min, Math.min(int32Max, x));

export function singleRounding(x: number, real: number): number {
  const { multiplier, shift } = quantizeMultiplier(real);
  return cut(roundedShift(x, multiplier, 31 - shift));
}

/** CMSIS-NN arm_nn_requantize with CMSIS_NN_USE_SINGLE_ROUNDING: twice the result goes through an int32. */
export function cmsisSingle(x: number, real: number): number {
  const { multiplier, shift } = quantizeMultiplier(real);
  const twice = BigInt.asIntN(32, (BigInt(x) * BigInt(multiplier)) >> BigInt(30 - shift));
  return Number((twice + 1n) >> 1n);
}

function floatBits(x: number): number {
  return new Uint32Array(Float32Array.of(x).buffer)[0]!;
}

/** QNNPACK src/requantization/q31-scalar.c. */
export function qnnpackQ31(x: number, scale: number): number {
  const bits = floatBits(scale);
  const multiplier = ((bits & 0x007fffff) | 0x00800000) << 7;
  const shift = 127 + 31 - 32 - (bits >>> 23);
  const product = wrapped((BigInt(x) * BigInt(multiplier) + 0x40000000n) >> 31n);
  const mask = (1n << BigInt(shift)) - 1n;
  const remainder = (BigInt(product) & mask) - (product < 0 ? 1n : 0n);
  return wrapped((BigInt(product) >> BigInt(shift)) + (remainder > mask >> 1n ? 1n : 0n));
}

/** precise-scalar.c, the signed 64-bit form. */
export function qnnpackPrecise(x: number, scale: number): number {
  const bits = floatBits(scale);
  const multiplier = BigInt((bits & 0x007fffff) | 0x00800000);
  const shift = BigInt(127 + 23 - (bits >>> 23));
  const adjusted = BigInt(x) * multiplier - (x < 0 ? 1n : 0n);
  return wrapped((adjusted + (1n << (shift - 1n))) >> shift);
}

/** float32 product, then halves to even by the remainder of a division: fp32-scalar.c, and MlasRequantizeOutput. */
export function floatRescale(x: number, scale: number): number {
  const value = Math.fround(Math.fround(x) * Math.fround(scale));
  const down = Math.floor(value);
  const rest = value - down;
  const rounded = rest > 0.5 || (rest === 0.5 && down % 2 !== 0) ? down + 1 : down;
  return cut(rounded) + 0;
}

/** TensorFlow Lite kernels/add.cc and reference/add.h, left shift 20, or 15 for 16 bits; each term of a code is computed once. */
export function tfliteAdd(
  { a, b, sum, wide }: AddScales,
  scaled: (x: number, real: number) => number,
): (x: number, y: number) => number {
  const twice = 2 * Math.max(a.scale, b.scale);
  const once = (real: number): ((x: number) => number) => {
    const known = new Map<number, number>();
    return (x) => known.get(x) ?? (known.set(x, scaled(x, real)), known.get(x)!);
  };
  const lift = 2 ** (wide ? 15 : 20);
  const [left, right, last] = [a.scale / twice, b.scale / twice, twice / (lift * sum.scale)].map(once) as [Once, Once, Once]; // prettier-ignore
  return (x, y) => last(left((x - a.zeroPoint) * lift) + right((y - b.zeroPoint) * lift)) + sum.zeroPoint;
}
type Once = (x: number) => number;

/** QNNPACK src/qnnpack/requantization.h: compute_add_quantization_params and add_quantize. */
export function qnnpackAdd({ a, b, sum }: AddScales): (x: number, y: number) => number {
  const [left, right] = [a, b].map(({ scale }) => Math.fround(scale / sum.scale)) as [number, number];
  const exponent = (floatBits(Math.max(left, right)) >>> 23) - 127;
  const shift = BigInt(21 - exponent);
  const [first, second] = [left, right].map((value) => BigInt(floatRescale(1, Math.fround(value * 2 ** (21 - exponent))))) as [bigint, bigint]; // prettier-ignore
  const zero = -(first * BigInt(a.zeroPoint) + second * BigInt(b.zeroPoint));
  const mask = (1n << shift) - 1n;
  return (x, y) => {
    const acc = BigInt.asIntN(32, zero + BigInt(x) * first + BigInt(y) * second);
    const remainder = (acc & mask) - (acc < 0n ? 1n : 0n);
    return Number((acc >> shift) + (remainder > mask >> 1n ? 1n : 0n)) + sum.zeroPoint;
  };
}
