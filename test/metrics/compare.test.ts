import fc from '../helpers/fc.ts';
import type { Metric } from '../../src/metrics/metric.ts';
import { cosine } from '../../src/metrics/cosine.ts';
import { mse } from '../../src/metrics/mse.ts';
import { psnr } from '../../src/metrics/psnr.ts';
import { sqnr } from '../../src/metrics/sqnr.ts';
import { batch, float, run } from './support.ts';

const reference = { y: float([2, 2], 3, 4, 0, 10), z: float([2, 1], 1, 2) };
const outputs = { y: float([2, 2], 3, 5, 0, 8), z: float([2, 1], 1, 2) };
const input = { batch: batch(2), outputs, reference };

describe('sqnr', () => {
  it('is the ratio of energies in dB, per output and over all', () => {
    // y: 9 + 16 + 100 = 125 to 1 + 4 = 5; all: 130 to 5.
    const result = run(sqnr(), input);
    expect(result).toMatchObject({ name: 'sqnr', unit: 'dB', higherIsBetter: true, samples: 2 });
    expect(result.perOutput!['y']).toBeCloseTo(10 * Math.log10(25), 10);
    expect(result.perOutput!['z']).toBe(Infinity);
    expect(result.value).toBeCloseTo(10 * Math.log10(26), 10);
    expect(run(sqnr({ output: 'y' }), input).value).toBeCloseTo(10 * Math.log10(25), 10);
  });

  it('gives 6.02 dB a bit for a uniform signal on a finer grid', () => {
    // Closed form: rounding a uniform signal of range R to steps R / 2^b has noise step² / 12, so SQNR = 20 b log10(2) when
    // the signal is uniform in ±R/2 (energy R² / 12). 20,000 evenly spaced values stand for the uniform distribution.
    const signal = Float32Array.from({ length: 20_000 }, (_, i) => (i + 0.5) / 20_000 - 0.5);
    for (const bits of [4, 8]) {
      const step = 2 ** -bits;
      const rounded = signal.map((x) => (Math.floor(x / step) + 0.5) * step);
      const tensor = (data: Float32Array) => ({ y: { type: 'float32' as const, dims: [1, data.length], data } });
      const { value } = run(sqnr(), { batch: batch(1), outputs: tensor(rounded), reference: tensor(signal) });
      // 20,000 points over 256 steps leave about 78 a step: the noise is within 1 / 78² of step² / 12.
      expect(value).toBeCloseTo(20 * bits * Math.log10(2), 2);
    }
  });

  it('leaves padding samples out', () => {
    const padded = { batch: batch(2, 1), outputs: { y: float([2, 1], 2, 9) }, reference: { y: float([2, 1], 3, 4) } };
    expect(run(sqnr(), padded)).toMatchObject({ samples: 1, value: 10 * Math.log10(9) });
  });

  it('compares with the expected outputs of the data, and the float model with them too', () => {
    const expected = [{ y: float([1, 2], 3, 4) }, { y: float([1, 2], 0, 11) }];
    const result = run(sqnr({ against: 'expected', output: 'y' }), {
      batch: batch(2, 2, expected),
      outputs,
      reference,
    });
    // own: 1 + 9; float: 1; signal 9 + 16 + 121.
    expect(result.value).toBeCloseTo(10 * Math.log10(146 / 10), 10);
    expect(result.reference).toBeCloseTo(10 * Math.log10(146), 10);
    expect(result.drop).toBeCloseTo(10, 10);
    expect(() => run(sqnr({ against: 'expected' }), { batch: batch(2, 2, expected), outputs, reference })).toThrow(/no expected output "z"/); // prettier-ignore
    expect(() => run(sqnr({ against: 'expected' }), input)).toThrow(/no expected output "y"/);
  });

  it('reads float16 outputs', () => {
    // 0x3c00 = 1, 0x4000 = 2.
    const half = (...bits: number[]) => ({
      y: { type: 'float16' as const, dims: [1, 2], data: Uint16Array.from(bits) },
    });
    const result = run(sqnr(), { batch: batch(1), outputs: half(0x3c00, 0x3c00), reference: half(0x4000, 0x3c00) });
    expect(result.value).toBeCloseTo(10 * Math.log10(5 / 1), 10);
  });

  it('says what cannot be compared', () => {
    const integers = { y: { type: 'int64' as const, dims: [1], data: BigInt64Array.of(1n) } };
    expect(() => run(sqnr(), { batch: batch(1), outputs: integers, reference: integers })).toThrow(/no output is of floats/); // prettier-ignore
    expect(() => run(sqnr({ output: 'y' }), { batch: batch(1), outputs: integers, reference: integers })).toThrow(/"y" is of type int64/); // prettier-ignore
    expect(() => run(sqnr({ output: 'yy' }), input)).toThrow(/no output "yy" \(did you mean "y"\?\); it has y, z/);
    expect(() => run(sqnr(), { ...input, outputs: { y: float([1, 2], 1, 2), z: outputs.z } })).toThrow(/"y" has the shape \[1, 2\], the float model's \[2, 2\]/); // prettier-ignore
  });
});

describe('cosine', () => {
  it('is the mean over samples of the cosine of the outputs', () => {
    // (3, 4)·(3, 5) = 29 / (5 √34); (0, 10)·(0, 8): 1.
    const first = 29 / (5 * Math.sqrt(34));
    const result = run(cosine(), input);
    expect(result.perOutput!['y']).toBeCloseTo((first + 1) / 2, 12);
    expect(result.value).toBeCloseTo((first + 1 + 1 + 1) / 4, 12);
    expect(run(cosine(), { batch: batch(1), outputs: { y: float([1, 2], 0, 0) }, reference: { y: float([1, 2], 1, 0) } }).value).toBe(0); // prettier-ignore
  });

  it('compares with the expected outputs', () => {
    const expected = [{ y: float([1, 2], 4, -3) }];
    const one = { y: float([1, 2], 3, 4) };
    const result = run(cosine({ against: 'expected' }), { batch: batch(1, 1, expected), outputs: { y: float([1, 2], 8, -6) }, reference: one }); // prettier-ignore
    expect([result.value, result.reference, result.drop]).toEqual([1, 0, -1]);
  });
});

describe('mse', () => {
  it('is the mean of squares, lower being better', () => {
    const result = run(mse(), input);
    expect(result).toMatchObject({ name: 'mse', higherIsBetter: false, perOutput: { y: 5 / 4, z: 0 }, value: 5 / 6, samples: 2 }); // prettier-ignore
    const expected = [{ y: float([1, 2], 3, 4) }, { y: float([1, 2], 0, 11) }];
    expect(run(mse({ output: 'y', against: 'expected' }), { batch: batch(2, 2, expected), outputs, reference })).toMatchObject({ value: 10 / 4, reference: 1 / 4, drop: 9 / 4 }); // prettier-ignore
  });
});

describe('psnr', () => {
  it('is the peak over the error in dB, the lowest of the outputs', () => {
    // Range of y: 0 to 10. Wikipedia's definition: 10 log10(peak² / MSE).
    const result = run(psnr(), input);
    expect(result.perOutput!['y']).toBeCloseTo(10 * Math.log10(100 / (5 / 4)), 10);
    expect(result.value).toBe(result.perOutput!['y']);
    const above = { batch: batch(1), outputs: { y: float([1, 2], 5, 8) }, reference: { y: float([1, 2], 5, 9) } };
    expect(run(psnr(), above).value).toBeCloseTo(10 * Math.log10(16 / 0.5), 10);
    expect(run(psnr({ peak: 255 }), input).value).toBeCloseTo(10 * Math.log10(65025 / (5 / 4)), 10);
  });
});

describe('every comparing metric', () => {
  it('gives the same in parts as in one', () => {
    const numbers = fc.array(fc.float({ min: -8, max: 8, noNaN: true }), { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(numbers, numbers, numbers, numbers, (a, b, c, d) => {
        const one = { batch: batch(2), outputs: { y: float([2, 2], ...a) }, reference: { y: float([2, 2], ...b) } };
        const two = { batch: batch(2), outputs: { y: float([2, 2], ...c) }, reference: { y: float([2, 2], ...d) } };
        const all = { batch: batch(4), outputs: { y: float([4, 2], ...a, ...c) }, reference: { y: float([4, 2], ...b, ...d) } }; // prettier-ignore
        const metrics: Metric[] = [sqnr(), cosine(), mse(), psnr()];
        for (const metric of metrics) expect(run(metric, one, two)).toEqual(run(metric, all));
      }),
      { numRuns: 50 },
    );
  });
});
