import { inDouble, toInt32, type Factor } from './scheme.ts';

/** 64-bit products of int32 in float64, exact: 2^53 holds a product with 16 bits of the other operand. */

/** A factor as an int32 multiplier in [2^30, 2^31) and a power of two: multiplier · 2^(shift − 31). */
export interface FixedPoint {
  readonly multiplier: number;
  /** Positive shifts to the left. */
  readonly shift: number;
}

/**
 * A positive real as multiplier and shift, as TensorFlow Lite's QuantizeMultiplier (kernels/internal/quantization_util.cc): the fraction
 * rounded to 31 bits, halves away from zero; below 2^-32 nothing is left.
 */
export function fixedPoint(factor: Factor): FixedPoint {
  const real = inDouble(factor);
  if (!(real > 0) || !Number.isFinite(real)) return { multiplier: 0, shift: 0 };
  let shift = Math.max(-1074, Math.floor(Math.log2(real)) + 1);
  // log2 may be off by an ulp at powers of two.
  if (real * 2 ** -shift >= 1) shift++;
  if (real * 2 ** -shift < 0.5) shift--;
  let multiplier = Math.floor(real * 2 ** -shift * 2 ** 31 + 0.5);
  if (multiplier === 2 ** 31) {
    multiplier /= 2;
    shift++;
  }
  return shift < -31 ? { multiplier: 0, shift: 0 } : { multiplier, shift };
}

/** Factors as multipliers and shifts; a sentence where one shifts further to the left than TensorFlow Lite has it, by over 30 bits. */
export function fixedPoints(factors: readonly Factor[]): FixedPoint[] | string {
  const all = factors.map(fixedPoint);
  const wrong = all.findIndex(({ shift }) => shift > 30);
  if (wrong < 0) return all;
  return `it takes factors below 2^30, and this one is ${inDouble(factors[wrong]!)}`;
}

/** floor((a · m + 2^30) / 2^31), for int32 a and 0 ≤ m < 2^31: the high half of the doubled product, halves up. */
export function highMul(a: number, m: number): number {
  return Math.floor((a * (m >>> 16) + 16384 + Math.floor(a * (m & 65535) * 2 ** -16)) * 2 ** -15);
}

/** floor((a · m + 2^(s−1)) / 2^s), for int32 a, 0 ≤ m < 2^32 and 1 ≤ s ≤ 62: one rounding, halves up. */
export function shiftedMul(a: number, m: number, s: number): number {
  if (s < 17) return Number((BigInt(a) * BigInt(m) + (1n << BigInt(s - 1))) >> BigInt(s));
  return roundedProduct(a, m >>> 16, m & 65535, 2 ** (s - 17), 2 ** (16 - s));
}

/** `shiftedMul` for 17 ≤ s with what depends on m and s taken out of loops: both halves of m, 2^(s−17) and 2^(16−s). */
export function roundedProduct(a: number, high: number, low: number, half: number, unit: number): number {
  return Math.floor((a * high + half + Math.floor(a * low * 2 ** -16)) * unit);
}

/** Multiplies values by m / 2^s as `shiftedMul` does, and cuts to int32. */
export function shiftedMuls(
  values: Int32Array,
  [start, end]: readonly [number, number],
  [m, s]: readonly [number, number],
  into: Int32Array,
): void {
  if (m < 2 ** 20) {
    // 2^31 · 2^20 and half a unit are exact in float64.
    const [half, unit] = [2 ** (s - 1), 2 ** -s];
    for (let i = start; i < end; i++) into[i] = toInt32(Math.floor((values[i]! * m + half) * unit));
    return;
  }
  if (s < 17) {
    for (let i = start; i < end; i++) into[i] = toInt32(shiftedMul(values[i]!, m, s));
    return;
  }
  const [high, low, half, unit] = [m >>> 16, m & 65535, 2 ** (s - 17), 2 ** (16 - s)];
  for (let i = start; i < end; i++) into[i] = toInt32(roundedProduct(values[i]!, high, low, half, unit));
}

/** x / 2^exponent to the nearest integer, halves away from zero (gemmlowp's RoundingDivideByPOT), for int32 x and 0 ≤ exponent ≤ 31. */
export function divideByPowerOfTwo(x: number, exponent: number): number {
  const mask = exponent === 31 ? 0x7fffffff : (1 << exponent) - 1;
  return (x >> exponent) + ((x & mask) > (mask >>> 1) + (x < 0 ? 1 : 0) ? 1 : 0);
}
