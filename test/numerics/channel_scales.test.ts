import {
  activationScales,
  channelExtremes,
  columnExtremes,
  roundingNoise,
  smoothingScales,
  type Reader,
} from '../../src/numerics/channel_scales.ts';
import { rowSample, type RowSample } from '../../src/numerics/row_sample.ts';
import { noise } from '../helpers/models.ts';

const sampled = (count: number, ...batches: readonly (readonly [Float32Array, readonly number[]])[]): RowSample => {
  const fold = rowSample(count);
  let state = fold.start();
  for (const [data, dims] of batches) state = fold.add(state, { data, dims });
  return fold.finish(state);
};
const reader = (weights: ArrayLike<number>, rows: number, columns: number): Reader => ({
  rows,
  columns,
  at: (r, c) => weights[r * columns + c]!,
});

describe('row_sample', () => {
  it('keeps ranges of every other sample by themselves, and rows of the second', () => {
    const data = Float32Array.of(1, -2, 3, 4, /**/ 10, 20, -30, 40, /**/ 5, -6, 0, 0);
    const { channels, first, second, rows } = sampled(10, [data, [3, 2, 2]]);
    expect(channels).toBe(2);
    expect([...first.min, ...first.max]).toEqual([0, -6, 5, 4]);
    expect([...second.min, ...second.max]).toEqual([-30, 20, 10, 40]);
    expect([...rows]).toEqual([10, 20, -30, 40]);
    expect([...sampled(10, [data.slice(0, 4), [1, 2, 2]]).rows]).toEqual([1, -2, 3, 4]);
  });

  it('does not depend on the batches', () => {
    const data = noise(1, 8 * 5 * 3);
    const whole = sampled(7, [data, [8, 5, 3]]);
    const parts = sampled(7, [data.slice(0, 45), [3, 5, 3]], [data.slice(45), [5, 5, 3]]);
    expect(parts).toEqual(whole);
    expect(whole.rows).toHaveLength(21);
  });

  it('chooses every row as often', () => {
    // Rows of one channel that name themselves; 2000 and on are of second samples.
    const counts = new Float64Array(4);
    const data = Float32Array.from({ length: 4000 }, (_, i) => i);
    for (const v of sampled(400, [data, [2, 2000, 1]], [data, [2, 2000, 1]]).rows) counts[Math.floor(v / 1000)]! += 1;
    expect(counts[0]! + counts[1]!).toBe(0);
    // 200 each, give or take 3.3 standard deviations of √(400 · ¼).
    expect(Math.abs(counts[2]! - counts[3]!)).toBeLessThan(2 * 33);
  });

  it('names a value that is not finite', () => {
    expect(() => sampled(2, [Float32Array.of(1, NaN), [1, 2]])).toThrow(/NaN/);
  });
});

describe('scales of channels', () => {
  it('are those of equation 4, over their geometric mean', () => {
    const [x, w] = [Float64Array.of(16, 4, 1), Float64Array.of(1, 4, 0.25)];
    // α = ½: √(x / w) = 4, 1, 2, whose geometric mean is 2.
    expect([...smoothingScales(x, w, 0.5)].map((v) => Number(v.toFixed(12)))).toEqual([2, 0.5, 1]);
    // A floor of a half lets 4 and 1 count as 8.
    const floored = smoothingScales(x, Float64Array.of(1, 1, 1), 1, 0.5);
    expect(floored[0]! / floored[1]!).toBeCloseTo(2, 12);
    expect(floored[1]! / floored[2]!).toBeCloseTo(1, 12);
    expect([...activationScales(Float64Array.of(16, 1), 1)]).toEqual([2, 0.5]);
    expect([...smoothingScales(Float64Array.of(0, 4), Float64Array.of(1, 1), 1)]).toEqual([0.5, 2]);
  });

  it('look at the largest of both signs', () => {
    expect([...channelExtremes({ min: Float64Array.of(-3, 1), max: Float64Array.of(2, 5) })]).toEqual([3, 5]);
    expect([...columnExtremes([reader([1, -2, 3, 1], 2, 2), reader([0, 5], 1, 2)], 2)]).toEqual([3, 5]);
  });

  it.each([
    [8, 8],
    [8, 4],
    [4, 8],
  ])('expect the error that rounding makes: activations of %i bits, weights of %i', (activations, weights) => {
    const [channels, outputs, tokens] = [24, 64, 600];
    const x = noise(3, tokens * channels).map((v, i) => v * (i % channels === 5 ? 8 : 1));
    const w = noise(4, outputs * channels, 0.2);
    const sample = sampled(tokens, [x, [2, tokens / 2, channels]]);
    const scales = smoothingScales(
      channelExtremes(sample.second),
      columnExtremes([reader(w, outputs, channels)], channels),
      0.5,
    );
    // By hand: both rounded, every product computed, of the rows that the sample holds.
    const [low, high] = [0, 1].map((side) =>
      [...scales].reduce(
        (m, s, c) => (side ? Math.max(m, sample.second.max[c]! / s) : Math.min(m, sample.second.min[c]! / s)),
        0,
      ),
    ) as [number, number];
    const step = (high - low) / (2 ** activations - 1);
    let error = 0;
    const rows = sample.rows.length / channels;
    for (let o = 0; o < outputs; o++) {
      const row = Array.from({ length: channels }, (_, c) => w[o * channels + c]! * scales[c]!);
      const own = Math.max(...row.map(Math.abs)) / (2 ** (weights - 1) - 1);
      for (let t = 0; t < rows; t++) {
        let sum = 0;
        for (let c = 0; c < channels; c++) {
          const v = sample.rows[t * channels + c]! / scales[c]!;
          sum += Math.round(v / step) * step * Math.round(row[c]! / own) * own - v * row[c]!;
        }
        error += sum ** 2 / rows;
      }
    }
    const expected = roundingNoise(sample, [reader(w, outputs, channels)], scales, { activations, weights });
    // Independent errors are an assumption: within 1.5 dB on 64 outputs.
    expect(Math.abs(10 * Math.log10(expected / error))).toBeLessThan(1.5);
  });
});
