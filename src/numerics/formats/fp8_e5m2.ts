import { floatFormat } from './minifloat.ts';

/** 1 sign, 5 exponent and 2 mantissa bits, bias 15: to ±57344 (infinity and NaN are no levels), least 2^−16. */
export const fp8E5m2 = floatFormat({
  name: 'fp8_e5m2',
  summary: '8-bit floating point E5M2 (float8e5m2), to ±57344 times a scale',
  source: 'Micikevicius et al. 2022 (arXiv 2209.05433); OCP 8-bit Floating Point Specification v1.0',
  type: 'float8e5m2',
  exponent: 5,
  mantissa: 2,
  top: 'ieee',
});
