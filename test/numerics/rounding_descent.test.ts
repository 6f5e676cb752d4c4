import { descendRounding, integerLevels } from '../../src/numerics/rounding_descent.ts';
import { quadratic } from './quadratic.ts';

const problem = (seed: number, size: number) => ({
  ...quadratic(seed, size, 3),
  scale: new Float64Array(size).fill(1),
});

function error(codes: ArrayLike<number>, w: Float64Array, gram: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < w.length; i++)
    for (let j = 0; j < w.length; j++) sum += (codes[i]! - w[i]!) * gram[i * w.length + j]! * (codes[j]! - w[j]!);
  return sum;
}

const size = 6;
const shape = { rows: 1, size };

describe('descendRounding', () => {
  it('never makes the error larger, and ends where no single step makes it smaller', () => {
    for (let seed = 0; seed < 50; seed++) {
      const { gram, w, target, scale } = problem(seed, size);
      const codes = w.map(Math.round);
      const before = error(codes, w, gram);
      descendRounding(codes, integerLevels(scale, -4, 4), gram, target, shape);
      const after = error(codes, w, gram);
      expect(after).toBeLessThanOrEqual(before + 1e-9);
      for (let i = 0; i < size; i++)
        for (const step of [-1, 1]) {
          const other = codes.slice();
          other[i]! += step;
          if (Math.abs(other[i]!) <= 4) expect(error(other, w, gram)).toBeGreaterThanOrEqual(after - 1e-9);
        }
    }
  });

  it('closes most of the gap between rounding to nearest and the best of all roundings', () => {
    let [nearest, descended, best] = [0, 0, 0];
    for (let seed = 0; seed < 30; seed++) {
      const { gram, w, target, scale } = problem(seed, size);
      const codes = w.map(Math.round);
      nearest += error(codes, w, gram);
      descendRounding(codes, integerLevels(scale, -4, 4), gram, target, shape);
      descended += error(codes, w, gram);
      let least = Infinity;
      // Brute force over all roundings up or down.
      for (let mask = 0; mask < 1 << size; mask++)
        least = Math.min(
          least,
          error(
            w.map((v, i) => Math.floor(v) + ((mask >> i) & 1)),
            w,
            gram,
          ),
        );
      best += least;
    }
    // Single steps end in a local optimum (measured: 0.74 of the gap on these problems); rounding to nearest closes none.
    expect((nearest - descended) / (nearest - best)).toBeGreaterThan(0.6);
  });

  it('leaves frozen codes and the bounds alone', () => {
    const { gram, w, target, scale } = problem(3, size);
    const codes = new Float64Array(size);
    const frozen = Uint8Array.of(1, 0, 1, 0, 1, 0);
    descendRounding(codes, integerLevels(scale, -1, 1), gram, target, shape, { frozen });
    expect([codes[0], codes[2], codes[4]]).toEqual([0, 0, 0]);
    expect(Math.max(...codes.map(Math.abs))).toBe(1);
    expect(w.length).toBe(size);
  });
});
