import { codeOf, nextFloat32, roundTo } from '../../../src/numerics/grid.ts';
import { random } from '../samples.ts';
import { gridFor, levelsOf, written } from './support.ts';

const below = (x: number): number => -nextFloat32(-x);

describe('INQ', () => {
  it('has the sets of the paper', () => {
    // b = 3 and n1 = −1 give n2 = −2: {±2^−1, ±2^−2, 0}, the paper's example. n1 = ⌊log2(4s/3)⌋ is −1 from s = 3/8 to just under 3/4.
    for (const s of [0.375, 0.5, 0.74]) expect(levelsOf('inq:bits=3', [s])).toEqual([-0.5, -0.25, 0, 0.25, 0.5]);
    expect(levelsOf('inq:bits=3', [0.75]).at(-1)).toBe(1);
    expect(levelsOf('inq:bits=3', [below(0.375)]).at(-1)).toBe(0.25);
    // b = 5: n2 = n1 + 1 − 8.
    expect(levelsOf('inq', [-1]).filter((l) => l > 0)).toEqual([7, 6, 5, 4, 3, 2, 1, 0].map((e) => 2 ** -e));
    expect(levelsOf('inq:bits=2', [1])).toEqual([-1, 0, 1]);
  });

  it('rounds by equation 4: to β from (α + β)/2 up to 3β/2', () => {
    const grid = gridFor('inq:bits=4', [1]);
    for (const beta of [1, 0.5, 0.25, 0.125]) {
      const alpha = beta === 0.125 ? 0 : beta / 2;
      const from = (alpha + beta) / 2;
      expect([roundTo(grid, from), roundTo(grid, -from)]).toEqual([beta, -beta]);
      expect([roundTo(grid, below(from)) + 0, roundTo(grid, -below(from)) + 0]).toEqual([alpha, 0 - alpha]);
      if (beta < 1) expect(roundTo(grid, below(1.5 * beta))).toBe(beta);
    }
  });
});

describe('log2', () => {
  const quantized = (x: number, base: number, least: number, most: number): number => {
    const exponent = Math.round(Math.log(Math.abs(x)) / Math.log(base));
    return x === 0 || exponent < least ? 0 : Math.sign(x) * base ** Math.min(exponent, most);
  };

  it.each([
    ['log2:bits=4', 2, -6, 0],
    ['log2:bits=5', 2, -14, 0],
    ['log2:bits=4,base=sqrt2', Math.SQRT2, -6, 0],
  ] as const)('%s is base^round(log |x|), 0 below the least', (text, base, least, most) => {
    const grid = gridFor(text, [1]);
    const next = random(11);
    for (let n = 0; n < 5000; n++) {
      const x = Math.fround((next() < 0.5 ? -1 : 1) * 2 ** (next() * 20 - 18));
      expect(roundTo(grid, x)).toBeCloseTo(quantized(x, base, least, most), 6);
    }
  });

  it('uses the bit of the sign where nothing is below 0', () => {
    expect(levelsOf('log2:bits=3', [1], { signed: false })).toEqual([0, ...[6, 5, 4, 3, 2, 1, 0].map((e) => 2 ** -e)]);
    expect(levelsOf('log2:bits=3', [1])).toEqual([-1, -0.5, -0.25, 0, 0.25, 0.5, 1]);
  });

  it('begins at the power that the largest value is rounded to', () => {
    const top = (text: string, x: number): number => levelsOf(text, [x]).at(-1)!;
    expect([top('log2', 1.41), top('log2', 1.42)]).toEqual([1, 2]);
    expect([top('log2:rounding=nearest', 1.49), top('log2:rounding=nearest', 1.51)]).toEqual([1, 2]);
    // Whole powers for √2 too.
    expect([top('log2:base=sqrt2', 1.18), top('log2:base=sqrt2', 1.2)]).toEqual([1, 2]);
  });
});

describe('ShiftCNN', () => {
  it('has the sums of one entry of each codebook, to the largest weight', () => {
    const [first, second] = [[1, 0.5, 0.25], [0.5, 0.25, 0.125]].map((c) => [0, ...c, ...c.map((p) => -p)]); // prettier-ignore
    const sums = new Set(first!.flatMap((a) => second!.map((b) => a + b + 0)).filter((s) => Math.abs(s) <= 1));
    expect(levelsOf('shiftcnn:bits=3', [1])).toEqual([...sums].sort((a, b) => a - b));
    expect(levelsOf('shiftcnn:bits=3', [0.3]).at(-1)).toBe(Math.fround(0.3));
  });

  it('is never farther off than the search term by term', () => {
    const grid = gridFor('shiftcnn', [1]);
    const next = random(12);
    for (let n = 0; n < 2000; n++) {
      const w = Math.fround(next() * 2 - 1);
      let rest = w;
      for (let term = 0; term < 2; term++) {
        if (rest === 0) continue;
        let e = Math.floor(Math.log2(Math.abs(rest)));
        if (Math.log2(Math.abs(rest)) > e + Math.log2(1.5)) e++;
        if (e <= -term && e >= -term - 6) rest -= Math.sign(rest) * 2 ** e;
      }
      expect(Math.abs(w - roundTo(grid, w))).toBeLessThanOrEqual(Math.abs(rest) + 1e-9);
    }
  });
});

describe('APoT', () => {
  it('has the sets of the paper', () => {
    // Three bits of magnitude and more: sums of one of each set, over the largest.
    expect(levelsOf('apot:bits=2,scale=max', [1])).toEqual([-1, 0, 1]);
    expect(levelsOf('apot:bits=3,scale=max', [1])).toEqual([-1, -0.5, -0.25, 0, 0.25, 0.5, 1]);
    const four = [0, 1, 2, 3, 4, 6, 8, 10].map((n) => Math.fround(n / 10));
    // {0, ½, ¼, 1/16} + {0, ⅛}, in sixteenths: 0 1 2 3 4 6 8 10.
    expect(levelsOf('apot:bits=4,scale=max', [1], { signed: false }).length).toBe(16);
    expect(levelsOf('apot:bits=4,scale=max', [1]).filter((l) => l >= 0)).toEqual(four);
    for (const bits of [2, 3, 4, 5, 6]) {
      expect(levelsOf(`apot:bits=${bits},scale=max`, [1])).toHaveLength(2 ** bits - 1);
      expect(levelsOf(`apot:bits=${bits},scale=max`, [1], { signed: false })).toHaveLength(2 ** bits);
    }
  });
});

it('powers of two are scaled by powers of two', () => {
  for (const text of ['log2', 'log2:base=sqrt2', 'log2:range=mse', 'inq', 'fixed', 'dynamic_fixed', 'mxfp4']) {
    const { scale } = written(text).fit(Float32Array.of(0.3, -0.7, 0.02), { signed: true, largest: 0.7 });
    expect(Number.isInteger(Math.log2(scale))).toBe(true);
  }
  expect(codeOf(gridFor('log2', [1]), 0)).toBe(15);
});
