import { roundTo } from '../../../src/numerics/grid.ts';
import { fill, gaussian } from '../samples.ts';
import { gridFor, levelsOf, rounded, squaredError } from './support.ts';

describe('clip_q', () => {
  it('prunes the share p of either side and makes means of even intervals of the rest', () => {
    const values = [1, 2, 3, 5, 7, 9, -1, -4];
    // Above: 1 becomes 0; from 2 to 9 there are two intervals of width 3½. Below: one, for −1 and −4.
    const third = Math.fround(10 / 3);
    expect(rounded('clip_q:bits=2,prune=0.25', values)).toEqual([0, third, third, third, 8, 8, -2.5, -2.5]);
    expect(rounded('clip_q:bits=2,prune=0.5', values)).toEqual([0, 0, 0, 5, 8, 8, 0, -4]);
  });

  it('has no more than 2^b levels, 0 among them, for one sign, one value and none too', () => {
    for (const values of [[0], [0, 0, 1], [-2], [1, 2, 3, 4, 5, 6, 7, 8, 9], [...fill(500, gaussian(3))]])
      for (const bits of [2, 3, 4]) {
        const levels = levelsOf(`clip_q:bits=${bits}`, values);
        expect(levels.length).toBeLessThanOrEqual(2 ** bits);
        expect(levels).toContain(0);
      }
  });

  it('searches the share of least error, of errors as important as they are, and prunes more where keeping has a price', () => {
    const values = fill(2000, gaussian(5));
    const importance = Float64Array.from(values, (v, i) => (i % 2) + Number(v > 0));
    const errorOf = (format: string): number => {
      const grid = gridFor(format, values, { importance });
      return squaredError(values, (x) => roundTo(grid, x), importance);
    };
    for (const bits of [2, 3]) {
      const searched = errorOf(`clip_q:bits=${bits}`);
      for (const prune of [0, 0.1, 0.3, 0.5, 0.7, 0.9])
        expect(searched).toBeLessThanOrEqual(errorOf(`clip_q:bits=${bits},prune=${prune}`) * (1 + 1e-9));
    }
    const zeros = (format: string): number => rounded(format, values).filter((v) => v === 0).length;
    expect(zeros('clip_q:price=0.5')).toBeGreaterThan(zeros('clip_q') + 200);
  });
});
