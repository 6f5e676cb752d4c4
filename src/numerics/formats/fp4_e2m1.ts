import { floatFormat } from './minifloat.ts';

/** 1 sign, 2 exponent bits and 1 mantissa bit, bias 1: 0, ½, 1, 1½, 2, 3, 4, 6 and their negatives. */
export const fp4E2m1 = floatFormat({
  name: 'fp4_e2m1',
  summary: '4-bit floating point E2M1 (float4e2m1) times a scale',
  source: 'OCP Microscaling Formats (MX) Specification v1.0, section 5.3.3',
  exponent: 2,
  mantissa: 1,
  top: 'finite',
});
