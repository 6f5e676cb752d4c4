import { floatFormat } from './minifloat.ts';

/** 1 sign, 4 exponent and 3 mantissa bits, bias 7, no infinity: to ±448 (the code above is NaN and no level), least 2^−9. */
export const fp8E4m3 = floatFormat({
  name: 'fp8_e4m3',
  summary: '8-bit floating point E4M3 (float8e4m3fn), to ±448 times a scale',
  source: 'Micikevicius et al. 2022 (arXiv 2209.05433); OCP 8-bit Floating Point Specification v1.0',
  type: 'float8e4m3fn',
  exponent: 4,
  mantissa: 3,
  top: 'nan',
});
