import { divideByPowerOfTwo, fixedPoints, highMul } from './fixed_point.ts';
import { eachRun, int32Max, int32Min, type Factor, type Rescale, type Scheme } from './scheme.ts';
import { shiftedAdd } from './shifted_add.ts';

/**
 * gemmlowp's SaturatingRoundingDoublingHighMul (fixedpoint/fixedpoint.h): (a · b + nudge) / 2^31 truncated, the nudge 2^30 or 1 − 2^30 by
 * the product's sign, which is floor((a · b + 2^30) / 2^31): halves go up. INT32_MIN², which alone does not fit, gives INT32_MAX.
 */
export function saturatingHighMul(a: number, b: number): number {
  if (b >= 0) return highMul(a, b);
  if (a >= 0) return highMul(b, a);
  if (a === int32Min && b === int32Min) return int32Max;
  return Number((BigInt(a) * BigInt(b) + (1n << 30n)) >> 31n);
}

/**
 * Two roundings: to the high half of the doubled product, then by the rest of the shift. A factor of 1 and more shifts the accumulator to the left first, and
 * wraps where that overflows, as the device's register does.
 */
export function doubleRounding(factors: readonly Factor[]): Rescale | string {
  const fixed = fixedPoints(factors);
  if (typeof fixed === 'string') return fixed;
  return (values, inner, into) =>
    eachRun(values.length, inner, fixed.length, (start, end, channel) => {
      const { multiplier, shift } = fixed[channel]!;
      const [left, right] = [Math.max(0, shift), Math.max(0, -shift)];
      highMulThenShift(values, [start, end], { multiplier, left, right }, into);
    });
}

/** Two roundings for a stretch of values: shifted to the left, multiplied in Q31, shifted to the right. */
export function highMulThenShift(
  values: Int32Array,
  [start, end]: readonly [number, number],
  { multiplier, left, right }: { readonly multiplier: number; readonly left: number; readonly right: number },
  into: Int32Array,
): void {
  if (left > 0) {
    // Factors of 1 and more are rare.
    for (let i = start; i < end; i++)
      into[i] = divideByPowerOfTwo(saturatingHighMul(values[i]! << left, multiplier), right);
    return;
  }
  // The same without branches, and with what stays the same taken out.
  const [high, low] = [multiplier >>> 16, multiplier & 65535];
  const mask = right === 31 ? 0x7fffffff : (1 << right) - 1;
  const half = mask >>> 1;
  for (let i = start; i < end; i++) {
    const value = values[i]!;
    const product = Math.floor((value * high + 16384 + Math.floor(value * low * 2 ** -16)) * 2 ** -15) | 0;
    into[i] = (product >> right) + ((half - (product & mask) - (product >> 31)) >>> 31);
  }
}

/** gemmlowp, and TensorFlow Lite's reference kernels on it. */
export const gemmlowp: Scheme = {
  name: 'gemmlowp',
  summary: '31-bit multiplier, saturating rounding doubling high multiply, then a rounding shift',
  source: 'google/gemmlowp fixedpoint/fixedpoint.h; TensorFlow Lite MultiplyByQuantizedMultiplier; arXiv 1712.05877',
  rescaler: doubleRounding,
  adder: (scales) => shiftedAdd(scales, doubleRounding),
};
