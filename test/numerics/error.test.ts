import { decibels, errorSums } from '../../src/numerics/error.ts';
import { sqnr } from './reference.ts';

const x = Float32Array.of(3, -4, 0, 12);
const y = Float32Array.of(3, -3, 1, 10);

it('measures by hand-computed sums', () => {
  expect(errorSums(x, y)).toEqual({ count: 4, signal: 169, noise: 6, dot: 141, power: 119, worst: 2 });
  expect(sqnr(x, y)).toBeCloseTo(14.497, 3); // 10·log10(169/6)
});

it('a full-scale sine in b bits has 6.02·b + 1.76 dB', () => {
  const n = 100000;
  for (const bits of [8, 12]) {
    const levels = 2 ** (bits - 1);
    const sine = Float64Array.from({ length: n }, (_, i) => Math.sin(i * 0.6180339887));
    const coded = sine.map((v) => Math.round(v * levels) / levels);
    // The formula takes the noise as uniform; at 8 bits that holds to about 0.1 dB.
    expect(Math.abs(sqnr(sine, coded) - (6.0206 * bits + 1.7609))).toBeLessThan(0.1);
  }
});

it('defines the edges', () => {
  const zero = new Float32Array(4);
  expect(decibels(1, 0)).toBe(Infinity);
  expect(sqnr(zero, y)).toBe(-Infinity);
  expect(() => errorSums(x, zero.subarray(1))).toThrow('4 values cannot be compared with 3');
});
