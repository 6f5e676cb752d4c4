import { aciqAlpha, aciqRange, stdRange } from '../../src/numerics/aciq.ts';
import type { AffineFormat } from '../../src/numerics/affine.ts';
import { calibrators, observerOf } from '../../src/numerics/calibrators.ts';
import { bestBins, divergenceOf, entropyRange } from '../../src/numerics/entropy.ts';
import { histogram } from '../../src/numerics/histogram.ts';
import { lpCost, lpRange } from '../../src/numerics/lp.ts';
import { expectedSqnr, expectedSquaredError, mseRange } from '../../src/numerics/mse.ts';
import { percentileRange } from '../../src/numerics/percentile.ts';
import { expandLevels, fakeQuantize, lpError, mse as meanSquaredError, sqnr } from './reference.ts';
import { paramsOfRanges } from '../../src/numerics/affine.ts';
import { erfc, normalTail } from '../../src/numerics/special.ts';
import { fill, gaussian, laplacian, random } from './samples.ts';

const u8: AffineFormat = { kind: 'int', bits: 8, signed: false, symmetric: false };
const s8: AffineFormat = { kind: 'int', bits: 8, signed: true, symmetric: true, narrow: true };
const u4 = { ...u8, bits: 4 };
const s4 = { ...s8, bits: 4 };

const of = (data: Float32Array) => {
  const fold = histogram();
  return fold.finish(fold.add(fold.start(), { dims: [data.length], data }));
};

const n = 60000;
const normal = fill(n, gaussian(11));
const relu = normal.map((v) => (v > 0 ? v : 0));
const laplace = fill(n, laplacian(12));
const skewed = normal.map((v) => (v > 0 ? 3 * v : v));
const heavy = (() => {
  const g = gaussian(13);
  const u = random(14);
  return fill(n, () => g() / Math.sqrt(u() + 1e-3));
})();
const data = { normal, relu, laplace, skewed, heavy, negative: relu.map((v) => -v) };

function quantized(x: Float32Array, lo: number, hi: number, format: AffineFormat): Float32Array {
  return fakeQuantize(x, [x.length], paramsOfRanges([lo], [hi], format, { per: 'tensor' }));
}

describe('percentile', () => {
  it.each(Object.entries(data))('of %s agrees with the sorted data to one bin', (_, x) => {
    const h = of(x);
    const sorted = x.slice().sort();
    const absolute = x.map(Math.abs).sort();
    for (const percentile of [50, 90, 99, 99.9, 100]) {
      const at = (values: Float32Array, share: number) => values[Math.round(share * (n - 1))] as number;
      const cut = (100 - percentile) / 200;
      const two = percentileRange(h, { percentile });
      // A bin of tolerance, and a few ranks: beyond 99.9 % neighbouring values are further apart than a bin.
      const close = (got: number, values: Float32Array, share: number) => {
        expect(got).toBeGreaterThanOrEqual(at(values, Math.max(0, share - 3 / n)) - h.width);
        expect(got).toBeLessThanOrEqual(at(values, Math.min(1, share + 3 / n)) + h.width);
      };
      close(two.min, sorted, cut);
      close(two.max, sorted, 1 - cut);
      const one = percentileRange(h, { percentile, symmetric: true });
      close(Math.max(-one.min, one.max), absolute, percentile / 100);
    }
  });
  it('refuses impossible shares', () => {
    expect(() => percentileRange(of(normal), { percentile: 0 })).toThrow('percentile');
    expect(() => percentileRange(of(normal), { percentile: 101 })).toThrow('percentile');
  });
});

/** The pseudo-code of Migacz's talk, word for word; the last bin counts as non-empty in P where outliers were added to it. */
function slides(bins: number[], i: number, levels: number): number {
  const p = bins.slice(0, i);
  const outliers = bins.slice(i).reduce((a, b) => a + b, 0);
  const reference = p.slice();
  reference[i - 1] = (reference[i - 1] as number) + outliers;
  const q = new Array<number>(i).fill(0);
  for (let l = 0; l < levels; l++) {
    const start = Math.floor((l * i) / levels);
    const end = Math.floor(((l + 1) * i) / levels);
    const mass = p.slice(start, end).reduce((a, b) => a + b, 0);
    const filled = reference.slice(start, end).filter((c) => c !== 0).length;
    for (let b = start; b < end; b++) if (reference[b] !== 0) q[b] = mass / filled;
  }
  const sum = (a: number[]) => a.reduce((x, y) => x + y, 0);
  const [sp, sq] = [sum(reference), sum(p)];
  return reference.reduce((d, c, b) => (c === 0 ? d : d + (c / sp) * Math.log(c / sp / ((q[b] as number) / sq))), 0);
}

describe('entropy', () => {
  it("gives the talk's worked example", () => {
    expect(expandLevels([1, 0, 2, 3, 5, 3, 1, 7], 2)).toEqual([2, 0, 2, 2, 4, 4, 4, 4]);
  });

  it('is the divergence of the pseudo-code', () => {
    const u = random(5);
    for (let run = 0; run < 20; run++) {
      const bins = Array.from({ length: 60 }, (_, i) => (u() < 0.3 ? 0 : Math.floor(u() * 1000 * Math.exp(-i / 15))));
      const divergence = divergenceOf(Float64Array.from(bins), 8);
      const all: number[] = [];
      for (let i = 8; i <= 60; i++) {
        const expected = slides(bins, i, 8);
        all.push(expected);
        if (expected === Infinity) expect(divergence(i)).toBe(Infinity);
        else expect(divergence(i)).toBeCloseTo(expected, 10);
      }
      expect(bestBins(Float64Array.from(bins), 8)).toBe(8 + all.indexOf(Math.min(...all)));
    }
  });

  it('sets the threshold half a bin beyond the best', () => {
    const h = of(heavy);
    const counts = new Float64Array(Math.ceil(Math.max(-h.min, h.max) / h.width));
    for (const v of heavy) {
      const i = Math.floor(Math.abs(v) / h.width);
      counts[i] = (counts[i] as number) + 1;
    }
    const m = bestBins(counts, 128, 1e9);
    // The search looks at every k-th candidate first, so it may settle on a neighbouring dip, not a worse one.
    const { max } = entropyRange(h, s8);
    const found = Math.round(max / h.width - 0.5);
    expect(max).toBeCloseTo((found + 0.5) * h.width, 12);
    const divergence = divergenceOf(counts, 128);
    expect(divergence(found)).toBeLessThan(divergence(m) * 1.02);
  });

  it('keeps what has no tail, and does not let zeros pull the threshold down', () => {
    const uniform = fill(n, random(9));
    expect(entropyRange(of(uniform), u8).max).toBeGreaterThan(0.98);
    expect(entropyRange(of(relu), u8).max).toBeGreaterThan(3);
  });
});

describe('squared error', () => {
  const formats = { u8, s8, u4, s4 };
  it.each(Object.entries(data))('on %s: the histogram predicts the quantizer', (_, x) => {
    const h = of(x);
    for (const format of Object.values(formats)) {
      for (const share of [1, 0.6, 0.2]) {
        const [lo, hi] = [h.min * share, h.max * share];
        const measured = meanSquaredError(x, quantized(x, lo, hi, format));
        // 60,000 samples of a rounding error have a standard error of 0.4 %; clipped tails, of few samples, are exact.
        expect(expectedSquaredError(h, lo, hi, format) / measured).toBeCloseTo(1, 1);
        expect(Math.abs(expectedSquaredError(h, lo, hi, format) / measured - 1)).toBeLessThan(0.03);
        expect(Math.abs(lpCost(h, format, 2)(lo, hi, Infinity) / h.count / measured - 1)).toBeLessThan(0.03);
        const cubic = lpError(x, quantized(x, lo, hi, format), 3);
        expect(Math.abs(lpCost(h, format, 3)(lo, hi, Infinity) / h.count / cubic - 1)).toBeLessThan(0.05);
      }
    }
  });

  it.each(Object.entries(data))('on %s: no range of a dense grid is better', (_, x) => {
    const few = x.subarray(0, 6000);
    const h = of(few);
    for (const format of Object.values(formats)) {
      const { min, max } = mseRange(h, format);
      const found = meanSquaredError(few, quantized(few, min, max, format));
      const cubic = lpRange(h, format, { p: 3 });
      const foundCubic = lpError(few, quantized(few, cubic.min, cubic.max, format), 3);
      const symmetric = format.symmetric;
      for (let a = 1; a > 0.05; a *= 0.8) {
        for (let b = symmetric ? a : 1; b > (symmetric ? a * 0.9 : 0.05); b *= 0.8) {
          const y = quantized(few, h.min * a, h.max * b, format);
          // 2 % and 5 %: what the histogram's bins and the fewer samples may hide (see above).
          expect(found).toBeLessThan(meanSquaredError(few, y) * 1.02);
          expect(foundCubic).toBeLessThan(lpError(few, y, 3) * 1.05);
        }
      }
    }
  });

  it('as SQNR', () => {
    const h = of(normal);
    const measured = sqnr(normal, quantized(normal, -2.6, 2.6, s4));
    expect(expectedSqnr(h, -2.6, 2.6, s4)).toBeCloseTo(measured, 1); // see the 3 % above: 0.13 dB
    expect(expectedSqnr(of(new Float32Array(4)), 0, 0, s4)).toBe(Infinity);
  });

  it('predicts steps finer than its bins', () => {
    const wide: AffineFormat = { kind: 'int', bits: 16, signed: true, symmetric: true, narrow: true };
    const h = of(normal);
    const measured = meanSquaredError(normal, quantized(normal, h.min, h.max, wide));
    expect(Math.abs(expectedSquaredError(h, h.min, h.max, wide) / measured - 1)).toBeLessThan(0.03);
    const { min, max } = mseRange(h, wide);
    expect(Math.max(-min, max)).toBeGreaterThan(0.99 * Math.max(-h.min, h.max));
  });

  it('refuses a negative exponent', () => expect(() => lpRange(of(normal), u8, { p: -1 })).toThrow('exponent'));
});

describe('ACIQ', () => {
  // Banner et al. and their code; the printed digits are cut off rather than rounded, and the last
  // one (4.2) is 0.016 off the root of its own equation, which mpmath puts at 4.21633; hence 0.011 and 0.017 of tolerance.
  it.each([
    ['laplace', false, [1.86, 2.83, 3.89, 5.03, 6.2, 7.41, 8.64, 9.89]],
    ['laplace', true, [2.83, 3.89, 5.02, 6.2, 7.41, 8.64, 9.89, 11.16]],
    ['gauss', false, [1.24, 1.71, 2.15, 2.55, 2.93, 3.28, 3.61, 3.92]],
    ['gauss', true, [1.71, 2.15, 2.55, 2.93, 3.28, 3.61, 3.92, 4.2]],
  ] as const)('%s, positive %s: the published constants', (distribution, positive, printed) => {
    printed.forEach((alpha, i) =>
      expect(Math.abs(aciqAlpha(distribution, i + 1, positive) - alpha)).toBeLessThan(alpha === 4.2 ? 0.017 : 0.011),
    );
  });

  it('solves its equation to all digits', () => {
    // mpmath 1.3, findroot.
    expect(aciqAlpha('gauss', 4)).toBeCloseTo(2.55913646197534, 12);
    expect(aciqAlpha('gauss', 8, true)).toBeCloseTo(4.21632982570402, 12);
    expect(aciqAlpha('laplace', 8)).toBeCloseTo(9.89675977001753, 12);
  });

  it('scales them by the spread of the data', () => {
    // 60,000 samples know σ to 0.3 % and b to 0.4 %.
    const near = (got: number, expected: number) => expect(Math.abs(got / expected - 1)).toBeLessThan(0.02);
    near(aciqRange(of(normal), s4, 'gauss').max, 2.55);
    near(aciqRange(of(laplace), s4, 'laplace').max, 5.03);
    near(aciqRange(of(relu), u4, 'gauss').max, 2.93);
    near(aciqRange(of(relu), s4, 'gauss').max, 2.55);
    near(aciqRange(of(laplace.map((v) => (v > 0 ? v : 0))), u4, 'laplace').max, 6.2);
    const shifted = aciqRange(of(normal.map((v) => v + 5)), u4, 'gauss');
    expect(shifted.min).toBeGreaterThanOrEqual(of(normal).min + 5);
    const std = stdRange(of(normal.map((v) => 2 * v + 1)), { n_stds: 1.5 });
    expect(std.min).toBeCloseTo(-2, 1);
    expect(std.max).toBeCloseTo(4, 1);
  });
});

describe('special functions', () => {
  // mpmath 1.3, 30 digits.
  it.each([
    [0, 1],
    [0.5, 0.47950012218695346],
    [1, 0.15729920705028513],
    [2.4, 0.00068851389664507857],
    [2.5, 0.00040695201744495894],
    [2.6, 0.00023603441652934921],
    [4, 1.541725790028002e-8],
    [6, 2.1519736712498913e-17],
    [10, 2.0884875837625448e-45],
    [26, 5.6631924088561428e-296],
    [-1.5, 1.9661051464753107],
  ])('erfc(%d)', (x, y) => {
    // Below 2.5 it is 1 − erf: absolute accuracy; above, relative.
    expect(Math.abs(erfc(x) - y)).toBeLessThan(x < 2.5 ? 4e-16 : y * 1e-13);
  });
  it('normal tail', () => expect(normalTail(1.959963984540054)).toBeCloseTo(0.025, 14));
});

describe('calibrators', () => {
  const cases: Record<string, Float32Array> = {
    ...data,
    empty: new Float32Array(0),
    zeros: new Float32Array(9),
    constant: new Float32Array(9).fill(3.5),
    'negative constant': new Float32Array(9).fill(-1e-30),
    tiny: Float32Array.of(1e-45, 0, -1e-45),
    huge: Float32Array.of(3e38, -3e38, 1),
    'far from zero': Float32Array.of(1e6, 1e6 + 1, 1e6 + 2),
    'one value': Float32Array.of(-2),
  };
  it.each(calibrators.map((c) => [c.name, c] as const))(
    '%s gives a range that occurred, for anything',
    (_, calibrator) => {
      for (const [name, x] of Object.entries(cases)) {
        for (const kind of calibrator.statistics) {
          const fold = observerOf(kind, {}, name);
          const statistic = fold.finish(fold.add(fold.start(), { dims: [1, x.length], data: x }));
          for (const format of [u8, s8, u4, s4]) {
            const { min, max } = calibrator.range(statistic, format);
            expect([name, min <= max]).toEqual([name, true]);
            expect([name, min >= statistic.min && max <= statistic.max]).toEqual([name, true]);
          }
        }
      }
    },
  );
  it('have distinct names', () => {
    expect(new Set(calibrators.map((c) => c.name)).size).toBe(calibrators.length);
    expect(() => calibrators.find((c) => c.name === 'entropy')?.range({ min: 0, max: 1 }, u8)).toThrow('histogram');
  });
});
