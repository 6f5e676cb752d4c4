import fc from '../helpers/fc.ts';
import { averageMinmax } from '../../src/numerics/average_minmax.ts';
import { minmax } from '../../src/numerics/minmax.ts';
import { movingAverageMinmax } from '../../src/numerics/moving_average_minmax.ts';

const batch = (...data: number[]) => ({ dims: [data.length], data: Float32Array.from(data) });
const batches = fc.array(
  fc
    .array(fc.float({ noNaN: true, noDefaultInfinity: true, min: -1000, max: 1000 }), { maxLength: 9 })
    .map((a) => batch(...a)),
  { maxLength: 8 },
);

describe('minmax', () => {
  it('is Math.min and Math.max, also in parts', () => {
    fc.assert(
      fc.property(batches, (all) => {
        const fold = minmax();
        const run = (part: typeof all) => part.reduce((s, b) => fold.add(s, b), fold.start());
        const values = all.flatMap((b) => [...b.data]);
        const expected =
          values.length === 0 ? { min: 0, max: 0 } : { min: Math.min(...values), max: Math.max(...values) };
        const { min, max } = fold.finish(run(all));
        expect([min === expected.min, max === expected.max]).toEqual([true, true]);
      }),
    );
  });

  it.each([NaN, Infinity, -Infinity])('refuses %d wherever it stands', (bad) => {
    for (let i = 0; i < 7; i++) {
      const data = new Float32Array(7).fill(2);
      data[i] = bad;
      const fold = minmax('relu3');
      expect(() => fold.add(fold.start(), { dims: [7], data })).toThrow(`${bad} at element ${i} of 7`);
    }
  });
});

describe('moving average', () => {
  it('follows the rule by hand', () => {
    const fold = movingAverageMinmax({ averaging_constant: 0.25 });
    const state = [batch(-1, 2), batch(), batch(-3, 4), batch(-1, 0)].reduce((s, b) => fold.add(s, b), fold.start());
    // min: −1 → −1.5 → −1.375; max: 2 → 2.5 → 1.875
    expect(fold.finish(state)).toEqual({ min: -1.375, max: 1.875 });
    expect(fold.finish(fold.start())).toEqual({ min: 0, max: 0 });
    expect(() => movingAverageMinmax({ averaging_constant: 2 })).toThrow('0 to 1');
  });
});

describe('average', () => {
  it('averages over samples or batches', () => {
    const a = { dims: [2, 2], data: Float32Array.of(1, 3, -5, 7) };
    const b = { dims: [1, 2], data: Float32Array.of(-1, 2) };
    const run = (per: 'sample' | 'batch') => {
      const fold = averageMinmax({ per });
      return fold.finish(fold.add(fold.add(fold.start(), a), b));
    };
    expect(run('sample')).toEqual({ min: (1 - 5 - 1) / 3, max: (3 + 7 + 2) / 3 });
    expect(run('batch')).toEqual({ min: -3, max: 4.5 });
    const fold = averageMinmax();
    expect(fold.finish(fold.start())).toEqual({ min: 0, max: 0 });
    expect(fold.finish(fold.add(fold.start(), { dims: [], data: Float32Array.of(2) }))).toEqual({ min: 2, max: 2 });
  });
});
