import { roundHalfEven } from '../rounding.ts';
import {
  eachRun,
  floatMuls,
  inSingle,
  toInt32,
  type Add,
  type AddScales,
  type Factor,
  type Rescale,
  type Scheme,
} from './scheme.ts';

/** float32(accumulator) · scale in float32, halves to even, as MlasRequantizeOutput; the scale is (x · w) / y in float32. */
function rescaler(factors: readonly Factor[]): Rescale {
  const scales = factors.map(inSingle);
  return (values, inner, into) =>
    eachRun(values.length, inner, scales.length, (start, end, channel) =>
      floatMuls(values, [start, end], scales[channel]!, into),
    );
}

/**
 * QLinearAdd on x64 with AVX2: zero points are folded into one constant, and a · A + (constant + b · B) is rounded, two fused
 * multiply-adds in float32 (mlas/lib/qladd.cpp gives the formula; the order and the fusing are those that agreed for all 65,536 pairs of
 * codes at nine layers' scales, onnxruntime 1.30). On ARM onnxruntime adds as QNNPACK does.
 */
function adder({ a, b, sum }: AddScales): Add {
  const { fround } = Math;
  const [left, right] = [fround(a.scale / sum.scale), fround(b.scale / sum.scale)];
  const constant = fround(sum.zeroPoint - fround(fround(left * a.zeroPoint) + fround(right * b.zeroPoint)));
  // Products of a code and a float32 are exact in float64, so that one rounding is a fused multiply-add.
  return (first, second, into) => {
    for (let i = 0; i < into.length; i++)
      into[i] = toInt32(roundHalfEven(fround(fround(constant + second[i]! * right) + first[i]! * left)));
  };
}

export const onnxruntimeFloat: Scheme = {
  name: 'onnxruntime',
  summary: "onnxruntime's integer kernels: float32 product, halves to even",
  source: 'microsoft/onnxruntime mlas/lib/quantize.cpp (MlasRequantizeOutput), qladd.cpp',
  rescaler,
  adder,
};
