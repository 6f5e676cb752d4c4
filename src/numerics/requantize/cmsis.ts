import { fixedPoints, shiftedMuls } from './fixed_point.ts';
import { doubleRounding } from './gemmlowp.ts';
import { eachRun, type Factor, type Rescale, type Scheme } from './scheme.ts';
import { shiftedAdd } from './shifted_add.ts';

const source =
  'ARM-software/CMSIS-NN Include/arm_nnsupportfunctions.h (arm_nn_requantize); tensorflow/tflite-micro kernels/internal/common.cc';

/**
 * CMSIS-NN as it is built by default, and TFLite Micro: arm_nn_doubling_high_mult_no_sat and arm_nn_divide_by_power_of_two. The multiply
 * does not saturate; since the multiplier is never negative, INT32_MIN² cannot come, and the numbers are gemmlowp's.
 */
export const cmsis: Scheme = {
  name: 'cmsis',
  summary: "CMSIS-NN and TFLite Micro by default, two roundings: gemmlowp's numbers, without its saturation",
  source,
  rescaler: doubleRounding,
  adder: (scales) => shiftedAdd(scales, doubleRounding),
};

/** (value · multiplier + 2^(30 − shift)) >> (31 − shift): one rounding, halves up. */
function singleRounding(factors: readonly Factor[]): Rescale | string {
  const fixed = fixedPoints(factors);
  if (typeof fixed === 'string') return fixed;
  return (values, inner, into) =>
    eachRun(values.length, inner, fixed.length, (start, end, channel) => {
      const { multiplier, shift } = fixed[channel]!;
      shiftedMuls(values, [start, end], [multiplier, 31 - shift], into);
    });
}

/** The same libraries built with CMSIS_NN_USE_SINGLE_ROUNDING and TFLITE_SINGLE_ROUNDING. */
export const cmsisSingle: Scheme = {
  name: 'cmsis-single',
  summary: 'the same built for single rounding: 64-bit product, one rounding shift, halves up',
  source,
  rescaler: singleRounding,
  adder: (scales) => shiftedAdd(scales, singleRounding),
};
