import { awayFrom, overlaps, spanOf } from '../../src/numerics/orthogonal.ts';
import { noise } from '../helpers/models.ts';

const vectors = (seed: number, count: number, size: number): Float64Array[] =>
  Array.from({ length: count }, (_, i) => Float64Array.from(noise(seed + i, size)));
const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, v, i) => sum + v * b[i]!, 0);

describe('orthogonal directions', () => {
  it('spans are orthonormal and hold what they were made of; nothing is left outside of a whole space', () => {
    const given = vectors(1, 5, 8);
    const basis = spanOf([...given, given[0]!.map((v, i) => 2 * v - given[3]![i]!)]);
    expect(basis).toHaveLength(5);
    for (const [i, a] of basis.entries()) for (const [j, b] of basis.entries()) expect(dot(a, b)).toBeCloseTo(i === j ? 1 : 0, 12); // prettier-ignore
    for (const vector of given) expect(awayFrom(vector, basis)).toBeUndefined();
    expect(spanOf(vectors(20, 12, 8))).toHaveLength(8);
    expect(awayFrom(vectors(40, 1, 8)[0]!, spanOf(vectors(20, 12, 8)))).toBeUndefined();
  });

  it('is exact for vectors that are almost parallel', () => {
    const [a, b] = vectors(3, 2, 6) as [Float64Array, Float64Array];
    const near = a.map((v, i) => v + 1e-5 * b[i]!);
    // Rounding of 1e-16 over a part of 1e-5; one round alone would leave 1e-11.
    for (const unit of spanOf([a])) expect(Math.abs(dot(awayFrom(near, [unit])!, unit))).toBeLessThan(1e-14);
  });

  it('overlaps are the row sums of |Ŵ Ŵᵀ − 1| over the number of rows', () => {
    const rows: Float64Array[] = [
      [3, 4],
      [4, 3],
      [0, -2],
      [0, 0],
    ].map((row) => Float64Array.from(row));
    // 24/25, 4/5 and 3/5 by hand.
    const wanted = [0.96 + 0.8, 0.96 + 0.6, 0.8 + 0.6, 0].map((sum) => sum / 4);
    overlaps(rows).forEach((value, i) => expect(value).toBeCloseTo(wanted[i]!, 12));
  });
});
