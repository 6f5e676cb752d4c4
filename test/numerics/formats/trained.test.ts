import { codeOf, roundTo } from '../../../src/numerics/grid.ts';
import { fill, gaussian } from '../samples.ts';
import { gridFor, levelsOf, rounded, squaredError, written } from './support.ts';

/** Levels of HWGQ before they are scaled. */
const hwgq = (options: string): number[] => [
  ...written(`hwgq:${options}`).fit(Float32Array.of(1), { signed: false, largest: 1 }).set.levels,
];

describe('HWGQ', () => {
  it('has the published steps: 0.538 for two bits, and those of the other widths', () => {
    for (const [bits, step] of [[1, 0.798], [2, 0.538], [3, 0.3216], [4, 0.1842]] as const) {
      const levels = hwgq(`bits=${bits}`);
      expect(levels).toHaveLength(2 ** bits);
      // Published to three digits, cut off.
      expect(Math.abs(levels[1]! - step)).toBeLessThan(1e-3);
      for (const [i, q] of levels.entries()) expect(q).toBeCloseTo(i * levels[1]!, 5);
    }
  }); // prettier-ignore

  it('has the levels of least error for a half normal distribution', () => {
    const close = (bits: number, published: readonly number[]): void =>
      hwgq(`bits=${bits},spacing=lloyd`).slice(1).forEach((q, i) => expect(q).toBeCloseTo(published[i]!, 2)); // prettier-ignore
    close(2, [0.318, 1.0, 1.894]);
    close(3, [0.146, 0.442, 0.751, 1.086, 1.468, 1.939, 2.625]);
  });

  it('rounds what is above 0 to the nearest level but 0, and all else to 0', () => {
    const grid = gridFor('hwgq:bits=2,scale=max', [3], { signed: false });
    const step = grid.levels[1]!;
    for (const [x, level] of [[-1, 0], [0, 0], [1e-30, 1], [0.4 * step, 1], [1.4 * step, 1], [1.6 * step, 2], [99, 3]] as const)
      expect(codeOf(grid, x)).toBe(level);
  }); // prettier-ignore

  it('is symmetric where values are below 0 too', () => {
    const levels = levelsOf('hwgq:bits=3,scale=max', [-2, 1]);
    expect(levels).toHaveLength(7);
    expect(levels.map((l) => -l).reverse().map((l) => l + 0)).toEqual(levels); // prettier-ignore
    expect(rounded('hwgq:bits=3', [1e-30, -1e-30, 0]).map(Math.sign).map((s) => s + 0)).toEqual([1, -1, 0]); // prettier-ignore
  });

  it('is not for weights', () => expect(written('hwgq').notWeights).toContain('activations'));
});

describe('DoReFa', () => {
  it.each([2, 3, 4])('rounds as its formula, with %i bits', (bits) => {
    const values = fill(300, gaussian(1)).map((v) => 0.4 * v);
    const n = 2 ** bits - 1;
    const most = Math.max(...values.map((v) => Math.abs(Math.tanh(v))));
    const q = [...values].map((v) => (2 * Math.round(n * (Math.tanh(v) / (2 * most) + 0.5))) / n - 1);
    const a = q.reduce((sum, l, i) => sum + l * values[i]!, 0) / q.reduce((sum, l) => sum + l * l, 0);
    for (const [i, r] of rounded(`dorefa:bits=${bits}`, values).entries()) expect(r).toBeCloseTo(a * q[i]!, 5);
  });

  it('with one bit is the sign times the mean magnitude', () => {
    expect(rounded('dorefa:bits=1', [1, -2, 3, 0])).toEqual([1.5, -1.5, 1.5, 1.5]);
  });

  it('clips activations, at 1 as the paper does or where the error is least', () => {
    const look = { signed: false };
    expect(rounded('dorefa:bits=2,clip=1', [-1, 0.2, 0.4, 0.6, 5], look)).toEqual(
      [0, 1 / 3, 1 / 3, 2 / 3, 1].map(Math.fround),
    );
  });
});

describe.each(['pact', 'wrpn'])('%s', (name) => {
  it('clips at the number that is given', () => {
    expect(rounded(`${name}:bits=2,clip=6`, [-1, 1.1, 3, 7], { signed: false }).map((x) => x + 0)).toEqual(
      [0, 2, 4, 6].map((x, i) => (i === 2 ? 4 : x)),
    );
    expect(levelsOf(`${name}:bits=3,clip=1`, [0.2])).toEqual([-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1].map(Math.fround));
  });

  it('finds the clip of least error', () => {
    const values = fill(4000, gaussian(2)).map((v) => Math.max(0, v) ** 2);
    const error = (clip: string | number): number => {
      const grid = gridFor(`${name}:bits=3,clip=${clip}`, values, { signed: false });
      return squaredError(values, (x) => roundTo(grid, x));
    };
    const least = Math.min(...Array.from({ length: 200 }, (_, i) => error(0.05 * (i + 1))));
    // The search and these two hundred clips are as fine as this.
    expect(error('mse')).toBeLessThanOrEqual(least * 1.01);
  });
});

it('weights and activations go where the papers have them', () => {
  expect(written('pact').notWeights).toContain('dorefa');
  for (const text of ['codebook', 'weq', 'ternary', 'binary', 'abc', 'residual', 'inq', 'shiftcnn', 'nf4'])
    expect(written(text).notActivations).toBeTruthy();
});
