import { divideByPowerOfTwo, roundedProduct } from './fixed_point.ts';
import { highMulThenShift } from './gemmlowp.ts';
import { roundHalfEven } from '../rounding.ts';
import {
  eachRun,
  floatMuls,
  inSingle,
  type Add,
  type AddScales,
  type Factor,
  type Rescale,
  type Scheme,
} from './scheme.ts';

/**
 * QNNPACK has three requantizations (src/requantization/{fp32,q31,precise}-scalar.c), all of a float32 scale in [2^-32, 1), whose 24 bits are
 * the multiplier: `fp32` multiplies in float32 and rounds halves to even (by lrintf or by adding 12582912, the magic number: the same
 * numbers after the cut to 8 bits); `q31` takes the doubled high half, halves up, then shifts with halves away from zero; `precise` rounds
 * the 64-bit product once, halves away from zero. Its convolutions and matrix products on a processor without vectors use q31.
 */
const source = 'pytorch/QNNPACK src/requantization/*-scalar.c, src/qnnpack/requantization.h';

interface FloatScale {
  /** 24 bits. */
  readonly mantissa: number;
  /** The scale is mantissa · 2^(exponent − 23). */
  readonly exponent: number;
}

const bits = new DataView(new ArrayBuffer(4));

function parts(scale: number): FloatScale {
  bits.setFloat32(0, scale);
  const word = bits.getUint32(0);
  return { mantissa: (word & 0x7fffff) | 0x800000, exponent: (word >>> 23) - 127 };
}

/** Readies the scales, or says which one QNNPACK does not take. */
function withScales(factors: readonly Factor[], make: (scales: readonly number[]) => Rescale): Rescale | string {
  const scales = factors.map(inSingle);
  const wrong = scales.find((scale) => !(scale >= 2 ** -32 && scale < 1));
  return wrong === undefined ? make(scales) : `QNNPACK takes factors from 2^-32 to below 1, and this one is ${wrong}`;
}

const q31 = (factors: readonly Factor[]): Rescale | string =>
  withScales(factors, (scales) => {
    const fixed = scales.map(parts);
    return (values, inner, into) =>
      eachRun(values.length, inner, fixed.length, (start, end, channel) => {
        const { mantissa, exponent } = fixed[channel]!;
        const q31 = { multiplier: mantissa << 7, left: 0, right: -1 - exponent };
        highMulThenShift(values, [start, end], q31, into);
      });
  });

const precise = (factors: readonly Factor[]): Rescale | string =>
  withScales(factors, (scales) => {
    const fixed = scales.map(parts);
    return (values, inner, into) =>
      eachRun(values.length, inner, fixed.length, (start, end, channel) => {
        const { mantissa, exponent } = fixed[channel]!;
        const [high, low] = [mantissa >>> 16, mantissa & 65535];
        const [half, unit] = [2 ** (6 - exponent), 2 ** (exponent - 7)];
        for (let i = start; i < end; i++) {
          const value = values[i]!;
          into[i] =
            value < 0 ? -roundedProduct(-value, high, low, half, unit) : roundedProduct(value, high, low, half, unit);
        }
      });
  });

const fp32 = (factors: readonly Factor[]): Rescale | string =>
  withScales(
    factors,
    (scales) => (values, inner, into) =>
      eachRun(values.length, inner, scales.length, (start, end, channel) =>
        floatMuls(values, [start, end], scales[channel]!, into),
      ),
  );

/** Shifts that both scales of a sum may have. */
const [leastRatio, mostRatio] = [2 ** -14, 2 ** 8];

/** QNNPACK's addition: multipliers of 22 bits at one shift for both terms, one rounding shift of their sum, halves away from zero. */
function add({ a, b, sum, wide }: AddScales): Add | string {
  if (wide) return 'QNNPACK adds codes of 8 bits, and these have 16';
  const ratios = [a, b].map(({ scale }) => Math.fround(scale / sum.scale));
  const wrong = ratios.find((ratio) => !(ratio >= leastRatio && ratio < mostRatio));
  if (wrong !== undefined) return `QNNPACK adds at ratios of scales from 2^-14 to below 256, and this one is ${wrong}`;
  const shift = 21 - parts(Math.max(...ratios)).exponent;
  const [left, right] = ratios.map((ratio) => roundHalfEven(ratio * 2 ** shift)) as [number, number];
  const zero = -(left * a.zeroPoint + right * b.zeroPoint);
  return (first, second, into) => {
    for (let i = 0; i < into.length; i++) {
      const value = (zero + first[i]! * left + second[i]! * right) | 0;
      into[i] = divideByPowerOfTwo(value, shift) + sum.zeroPoint;
    }
  };
}

export const qnnpackQ31: Scheme = {
  name: 'qnnpack-q31',
  summary: "QNNPACK's kernels: 24-bit multiplier in Q31, high multiply halves up, rounding shift",
  source,
  rescaler: q31,
  adder: add,
};

export const qnnpackPrecise: Scheme = {
  name: 'qnnpack-precise',
  summary: '24-bit multiplier, 64-bit product, one rounding with halves away from zero',
  source,
  rescaler: precise,
  adder: add,
};

export const qnnpackFloat: Scheme = {
  name: 'qnnpack-fp32',
  summary: 'float32 product rounded by lrintf or the magic number, halves to even',
  source,
  rescaler: fp32,
  adder: add,
};
