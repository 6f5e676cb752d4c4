import fc from '../helpers/fc.ts';
import { histogram, type Histogram } from '../../src/numerics/histogram.ts';
import { absoluteCounts, meanDeviation, momentsOf, pointMass } from '../../src/numerics/histogram_parts.ts';
import { toFloat16 } from '../../src/numerics/float16.ts';
import { fill, gaussian, random } from './samples.ts';

const of = (data: Float32Array, bins = 16): Histogram => {
  const fold = histogram({ num_bins: bins }, 'conv1_out');
  return fold.finish(fold.add(fold.start(), { dims: [data.length], data }));
};

/** Counts straight from the definition of the bins. */
function counted(data: ArrayLike<number>, { width, first, counts }: Histogram): Float64Array {
  const out = new Float64Array(counts.length);
  for (let i = 0; i < data.length; i++) {
    const bin = Math.floor((data[i] as number) / width) - first;
    out[bin] = (out[bin] as number) + 1;
  }
  return out;
}

const finite = fc.float({ noNaN: true, noDefaultInfinity: true });
const numbers = fc.oneof(
  fc.float32Array({ noNaN: true, noDefaultInfinity: true, minLength: 1, maxLength: 40 }),
  fc
    .array(fc.oneof(fc.constant(0), fc.float({ min: -8, max: 8, noNaN: true })), { minLength: 1, maxLength: 60 })
    .map((a) => Float32Array.from(a)),
  fc.tuple(finite, fc.integer({ min: 1, max: 9 })).map(([v, n]) => new Float32Array(n).fill(v)),
);

describe('histogram', () => {
  it('counts every value in its bin, whatever the order and the batches', () => {
    fc.assert(
      fc.property(numbers, fc.array(fc.nat(60), { maxLength: 4 }), fc.nat(), (data, cuts, seed) => {
        const whole = of(data);
        expect(whole.counts).toEqual(counted(data, whole));
        expect(whole.min).toBe(Math.min(...data) + 0);
        expect(whole.max).toBe(Math.max(...data) + 0);
        expect(whole.count).toBe(data.length);

        const fold = histogram({ num_bins: 16 });
        const u = random(seed);
        const shuffled = data.slice().sort(() => u() - 0.5);
        const at = [0, ...cuts.map((c) => Math.min(c, data.length)).sort((a, b) => a - b), data.length];
        let state = fold.start();
        for (let i = 0; i + 1 < at.length; i++)
          state = fold.add(state, { dims: [], data: shuffled.slice(at[i], at[i + 1]) });
        expect({ ...fold.finish(state), sum: 0, sumSquares: 0, sumAbs: 0 }).toEqual({
          ...whole,
          sum: 0,
          sumSquares: 0,
          sumAbs: 0,
        });
      }),
      { numRuns: 300, examples: [[Float32Array.of(0, -0), [], 10]] },
    );
  });

  it('has num_bins to twice as many bins between the ends, also after the range grew', () => {
    const next = gaussian(1);
    const fold = histogram({ num_bins: 2048 });
    for (const growth of [1, 1.01, 1.7, 3, 1000]) {
      let state = fold.start();
      for (let batch = 0; batch < 20; batch++) {
        const scale = 1 + (growth - 1) * (batch / 19);
        state = fold.add(state, { dims: [500], data: fill(500, () => next() * scale) });
      }
      const { counts } = fold.finish(state);
      expect(counts.length).toBeGreaterThanOrEqual(2048);
      expect(counts.length).toBeLessThanOrEqual(4096);
    }
  });

  it('has the exact sums', () => {
    const h = of(Float32Array.of(1, -2, 0.5, 0, 8));
    expect(h).toMatchObject({ sum: 7.5, sumSquares: 69.25, sumAbs: 11.5, min: -2, max: 8, count: 5 });
  });

  it('does not overflow', () => {
    const fold = histogram({ num_bins: 16 });
    const full = 2 ** 32 - 3;
    let state = fold.add(fold.start(), { dims: [4], data: Float32Array.of(1, 1, 1, 5) });
    const bin = state.counts.findIndex((n) => n === 3);
    state.counts[bin] = full - 1;
    state.pending = full;
    state = fold.add(state, { dims: [10], data: new Float32Array(10).fill(1) });
    state = fold.add(state, { dims: [1], data: Float32Array.of(-40) }); // and the spilled counts follow a change of width
    const h = fold.finish(state);
    expect(Math.max(...h.counts)).toBe(full - 1 + 10);
    expect(h.counts[Math.floor(1 / h.width) - h.first]).toBe(full - 1 + 10);
  });

  it('takes float16, and names the tensor it cannot take', () => {
    const fold = histogram({}, 'conv1_out');
    const half = fold.add(fold.start(), { type: 'float16', dims: [2], data: toFloat16(Float32Array.of(1, 2)) });
    expect(fold.finish(half)).toMatchObject({ min: 1, max: 2, count: 2 });
    const at = { at: 'conv1_out' };
    const add = (data: Float32Array | BigInt64Array) => () =>
      fold.add(fold.start(), { type: 'int64', dims: [1], data });
    const caught = (f: () => void): unknown => {
      try {
        f();
      } catch (error) {
        return error;
      }
      return undefined;
    };
    for (const bad of [NaN, Infinity, -Infinity]) {
      for (const position of [0, 3, 4, 6]) {
        const data = new Float32Array(7).fill(1);
        data[position] = bad;
        const error = caught(add(data));
        expect(error).toMatchObject({ ...at, code: 'data', message: `${bad} at element ${position} of 7` });
      }
    }
    expect(caught(add(new BigInt64Array(1)))).toMatchObject({ ...at, code: 'graph' });
    expect(() => histogram({ num_bins: 1.5 })).toThrow('num_bins');
  });

  it('of nothing is empty', () => {
    expect(of(new Float32Array(0))).toMatchObject({ count: 0, min: 0, max: 0 });
  });
});

describe('parts', () => {
  it('folds onto |x|', () => {
    fc.assert(
      fc.property(numbers, (data) => {
        const h = of(data);
        // A negative value on a bin edge falls to the other side of it; such values are rare, so they are moved off.
        if (data.some((v) => v < 0 && Number.isInteger(v / h.width))) return;
        const absolute = absoluteCounts(h);
        const expected = new Float64Array(absolute.counts.length);
        for (const v of data) {
          const i = Math.floor(Math.abs(v) / absolute.width);
          expected[i] = (expected[i] as number) + 1;
        }
        expect(absolute.counts).toEqual(expected);
      }),
    );
  });

  it('finds the zeros of a ReLU and leaves smooth data alone', () => {
    const next = gaussian(7);
    const relu = fill(200000, () => Math.max(0, next()));
    const zeros = relu.filter((v) => v === 0).length;
    // The estimate is off by the difference of two neighbouring bins: some standard deviations of a bin's count.
    expect(Math.abs(pointMass(of(relu, 2048)) - zeros)).toBeLessThan(60);
    expect(pointMass(of(fill(200000, next), 2048))).toBeLessThan(60);
  });

  it('has the moments and the mean deviation of the data', () => {
    const data = fill(50000, gaussian(3));
    const h = of(data, 2048);
    const { m0, m1, m2 } = momentsOf(h);
    const zeros = pointMass(h);
    const n = data.length;
    expect((m0.at(-1) as number) + zeros).toBe(n);
    // Spreading a value over its bin moves it by at most a bin, which is 1/2048 of the range or less.
    expect(Math.abs(((m1.at(-1) as number) * h.width - h.sum) / n)).toBeLessThan(h.width);
    expect(((m2.at(-1) as number) * h.width ** 2) / h.sumSquares).toBeCloseTo(1, 4);
    const mean = h.sum / n;
    const exact = data.reduce((s, v) => s + Math.abs(v - mean), 0) / n;
    expect(Math.abs(meanDeviation(h, mean) - exact)).toBeLessThan(h.width / 10);
  });
});
