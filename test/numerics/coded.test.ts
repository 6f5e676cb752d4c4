import { codedParams, entropyBits, rateCurve, stepForRate, type RateCurve } from '../../src/numerics/coded.ts';
import { errorSums } from '../../src/numerics/error.ts';
import { dequantize, quantize } from '../../src/numerics/quantize.ts';
import { fill, gaussian, laplacian } from './samples.ts';

const count = 2 ** 17;
const gauss = fill(count, gaussian(11));
const laplace = fill(count, laplacian(12));

const curves = new Map([gauss, laplace].map((values) => [values, rateCurve([values])]));

const codesAt = (values: Float32Array, bits: number) => {
  const params = codedParams(values, stepForRate(curves.get(values) as RateCurve, bits));
  return { params, codes: quantize(values, [values.length], params) };
};
const sqnr = (values: Float32Array, bits: number): number => {
  const { params, codes } = codesAt(values, bits);
  const { signal, noise } = errorSums(values, dequantize(codes, [values.length], params));
  return 10 * Math.log10(signal / noise);
};
const entropyOf = (codes: ArrayLike<number>): number => {
  const counts = new Map<number, number>();
  for (let i = 0; i < codes.length; i++) counts.set(codes[i] as number, (counts.get(codes[i] as number) ?? 0) + 1);
  return entropyBits(counts.values(), codes.length) / codes.length;
};

describe('entropy-coded steps', () => {
  it('counts bits as Shannon does', () => {
    expect(entropyBits([5, 5, 5, 5, 5, 5, 5, 5], 40)).toBeCloseTo(3 * 40, 10);
    // Cover and Thomas, Elements of Information Theory, example 2.1.2: 1/2, 1/4, 1/8, 1/8 have 7/4 bits.
    expect(entropyBits([4, 2, 1, 1, 0], 8)).toBeCloseTo((7 / 4) * 8, 10);
  });

  it('has a Gaussian’s SQNR 1.53 dB below the rate-distortion bound 6.02 R (Gish and Pierce 1968)', () => {
    // The asymptote is exact to 0.01 dB from 3 bits on; 2^17 samples know noise and entropy to about 0.1 dB.
    for (const bits of [3, 4, 5]) expect(Math.abs(sqnr(gauss, bits) - (6.0206 * bits - 1.5329))).toBeLessThan(0.1);
  });

  it('has a Laplacian’s noise Δ²/12 at the entropy h − log2 Δ, h = log2(2·e·b)', () => {
    const h = Math.log2(2 * Math.E);
    // Clipping at 127 steps would show above 5 bits: the largest of 2^17 Laplacian values is about 12 b, 8.5 σ.
    for (const bits of [4, 5])
      expect(Math.abs(sqnr(laplace, bits) - 10 * Math.log10((12 * 2) / 4 ** (h - bits)))).toBeLessThan(0.12);
  });

  it('gives codes that take the rate asked for, down to fractions of a bit', () => {
    for (const values of [gauss, laplace])
      for (const bits of [0.5, 1, 1.75, 2.5, 4, 5])
        // A curve of 8 points an octave is interpolated: its error is below a hundredth of a bit.
        expect(Math.abs(entropyOf(codesAt(values, bits).codes) - bits)).toBeLessThan(0.02);
  });

  it('has one step for values that share it, and knows the ends', () => {
    const both = rateCurve([gauss.subarray(0, 1000), gauss.subarray(1000, 4000)]);
    expect(both).toEqual(rateCurve([gauss.subarray(0, 4000)]));
    const largest = gauss.subarray(0, 4000).reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    // More than int8 codes hold: the finest step. Less than one code takes: everything is 0.
    expect(stepForRate(both, 12)).toBeCloseTo(largest / 127, 6);
    // Codes of 7 bits end at 63: their finest step is as much coarser.
    expect(stepForRate(rateCurve([gauss.subarray(0, 4000)], 7), 12)).toBeCloseTo(largest / 63, 6);
    expect(largest / stepForRate(both, 0)).toBeLessThan(0.5);
    expect(codedParams(new Float32Array(3), stepForRate(rateCurve([new Float32Array(3)]), 3)).scale[0]).toBe(1);
    expect(codedParams(Float32Array.of(127, -254), 0.1).scale[0]).toBe(2);
  });
});
