import { readFileSync } from 'node:fs';
import fc from '../../helpers/fc.ts';
import { codeOf, codesInSet, nextFloat32, roundTo, scaledGrid, stretchedLevel } from '../../../src/numerics/grid.ts';
import { formatCodes, gridOf } from '../../../src/numerics/formats/apply.ts';
import { largestOf } from '../../../src/numerics/formats/scale.ts';
import { formats } from '../../../src/numerics/formats/index.ts';
import { fill, gaussian } from '../samples.ts';
import { gridFor, isNearest, written } from './support.ts';

/** Rounds to the nearest level of its set. */
const nearest = [
  'int', 'int4', 'int2', 'int16', 'int:bits=5,scale=power', 'int:scale=max', 'minifloat', 'minifloat:exponent=5,mantissa=0', 'minifloat:exponent=1,mantissa=2,top=ieee',
  'fixed', 'fixed:bits=6,fraction=mse', 'fixed:bits=8,fraction=3', 'dynamic_fixed', 'dynamic_fixed:bits=4,exponent=mse', 'flexpoint', 'fp8_e4m3', 'fp8_e5m2:scale=max',
  'fp4_e2m1', 'mxfp4', 'mxfp4:scale=mse', 'mxfp6', 'mxfp6:element=e3m2', 'mxfp8', 'mxfp8:element=e5m2', 'nvfp4', 'nf4', 'dynamic_tree', 'log2:rounding=nearest',
  'log2:rounding=nearest,base=sqrt2,range=mse', 'inq', 'inq:bits=2', 'inq:bits=7', 'shiftcnn', 'shiftcnn:terms=3,bits=3', 'apot', 'apot:bits=2', 'apot:bits=6,scale=max',
  'ternary', 'ternary:scales=2', 'binary', 'residual', 'residual:bases=5', 'codebook', 'codebook:bits=2,start=exact', 'codebook:bits=1,start=random', 'wrpn', 'wrpn:clip=1', 'pact', 'pact:clip=6',
]; // prettier-ignore
/** Has thresholds of its own. */
const other = [
  'fixed:rounding=floor,bits=6', 'dynamic_fixed:rounding=floor,exponent=mse', 'log2', 'log2:base=sqrt2', 'log2:bits=2,range=mse', 'ternary:threshold=0.7', 'ternary:threshold=0.7,scales=2', 'abc', 'abc:bases=8', 'abc:bases=1',
  'weq', 'weq:zero=false', 'weq:bits=1', 'hwgq', 'hwgq:bits=4,spacing=lloyd', 'hwgq:bits=1', 'dorefa', 'dorefa:bits=1',
]; // prettier-ignore
/** And every format of the list as it comes. */
const plain = formats.map(({ name }) => name).filter((name) => !nearest.includes(name) && !other.includes(name));
const all = [...nearest, ...other, ...plain];

const float = fc.float({ noNaN: true, noDefaultInfinity: true });
/** Numbers of about one size, as weights are, and numbers of all sizes, zeros among both. */
const weights = fc.oneof(
  fc.array(fc.oneof(fc.float({ min: -4, max: 4, noNaN: true }), fc.constant(0)), { minLength: 1, maxLength: 40 }),
  fc.array(float, { minLength: 1, maxLength: 12 }),
);

it('has a section for every format in the page', () => {
  const page = readFileSync(new URL('../../../docs/formats.md', import.meta.url), 'utf8');
  const told = page.split('\n').flatMap((line) => (line.startsWith('### ') ? line.slice(4).split(', ') : []));
  expect(told.sort()).toEqual(formats.map(({ name }) => name).sort());
});

describe.each(all)('%s', (text) => {
  const format = written(text);

  it('has the same codes where thresholds are computed one by one, and where all are beforehand', () => {
    for (const [size, signed] of [
      [1, true],
      [2 ** -20, false],
      [2 ** 120, true],
      [2 ** -130, true],
    ] as const) {
      const values = fill(40, gaussian(8)).map((v) => (signed ? v : Math.abs(v)) * size);
      const { set, scale } = format.fit(values, { signed, largest: largestOf(values) });
      const grid = scaledGrid(set, scale);
      const borders = [...grid.thresholds.subarray(0, 200), ...grid.thresholds.slice(-200)];
      const near = borders.flatMap((t) => [t, nextFloat32(t), -nextFloat32(-t)]);
      const asked = Float32Array.of(...values, ...near, 0, -0, Infinity, -Infinity, NaN, 1e-45, -1e-45);
      expect(codesInSet(set, scale, asked)).toEqual(Uint16Array.from(asked, (x) => codeOf(grid, x)));
      expect(set.levels.map((level) => stretchedLevel(level, scale))).toEqual(grid.levels);
    }
  });
  // Sets of 2^16 levels are looked at level by level.
  const runs = format.bits > 12 ? 4 : 60;

  it('has finite rising float32 levels that its bits can number, whatever it is fitted to', () => {
    const check = (values: readonly number[], signed: boolean): void => {
      const { levels, thresholds } = gridFor(format, signed ? values : values.map(Math.abs), { signed });
      expect(levels.length).toBeGreaterThan(0);
      // INQ counts a bit for zero and uses one code of it; all others fill their bits.
      expect(levels.length).toBeLessThanOrEqual(2 ** format.bits);
      expect(thresholds).toHaveLength(levels.length - 1);
      expect(levels.every((l, i) => Number.isFinite(l) && (i === 0 || l >= levels[i - 1]!))).toBe(true);
      expect(thresholds.every((t, i) => !Number.isNaN(t) && (i === 0 || t >= thresholds[i - 1]!))).toBe(true);
    };
    fc.assert(fc.property(weights, fc.boolean(), check), { seed: 1, numRuns: runs });
    for (const values of [
      [0],
      [0, 0, 0],
      [1],
      [-3.4028234663852886e38, 3.4028234663852886e38, 1],
      [1e-45, -1e-45, 0],
      [2 ** -126, 2 ** -140],
      [1e-30, 1e30],
    ]) {
      check(values, true);
      check(values, false);
    }
  });

  // A level of ABC-Net may lie beyond its own thresholds, and so may one of DoReFa, whose thresholds are tanh's.
  const apart = /^(abc|dorefa)/.test(text);
  (apart ? it.skip : it)('leaves what is a level as it is', () => {
    fc.assert(
      fc.property(weights, (values) => {
        const grid = gridFor(format, values);
        // Levels that fall together below the least float32 number, or beyond the largest, share a value.
        expect(grid.levels.find((level) => roundTo(grid, level) !== level)).toBeUndefined();
      }),
      { seed: 2, numRuns: runs / 2 },
    );
  });

  it('sends infinities to the ends and keeps NaN', () => {
    const grid = gridFor(format, [0.5, -1, 0.25]);
    expect(roundTo(grid, Infinity)).toBe(grid.levels.at(-1));
    expect(roundTo(grid, -Infinity)).toBe(grid.levels[0]);
    expect(roundTo(grid, NaN)).toBeNaN();
  });

  it('keeps 0 where it has it', () => {
    fc.assert(
      fc.property(weights, (values) => {
        const grid = gridFor(format, values);
        if (grid.levels.includes(0)) expect(Math.abs(roundTo(grid, 0))).toBe(0);
      }),
      { seed: 3, numRuns: runs / 2 },
    );
  });

  it('gives the same parameters for the same values', () => {
    const values = fill(64, gaussian(4));
    const look = { signed: true, largest: 5 };
    expect(format.fit(values, look)).toEqual(written(text).fit(values.slice(), look));
  });
});

it.each(nearest)('%s rounds to the nearest level', (text) => {
  const format = written(text);
  fc.assert(
    fc.property(weights, fc.array(float, { maxLength: 10 }), (values, more) => {
      const grid = gridFor(format, values);
      for (const x of [...values, ...more]) expect(isNearest(grid, Math.fround(x))).toBe(true);
    }),
    { seed: 5, numRuns: format.bits > 12 ? 2 : 40 },
  );
});

// Formats whose parameters come from the largest value, or whose best set holds what was rounded.
it.each([
  'int:scale=max', 'minifloat:scale=max', 'mxfp4', 'mxfp6', 'mxfp6:element=e3m2', 'mxfp8', 'mxfp8:element=e5m2', 'nf4', 'log2', 'log2:base=sqrt2', 'inq', 'inq:bits=3',
  'shiftcnn', 'apot:scale=max', 'ternary', 'ternary:scales=2', 'binary', 'codebook', 'codebook:start=exact', 'wrpn', 'fp8_e4m3:scale=max', 'fixed:fraction=4',
])('%s, fitted to what it rounded, changes nothing', (text) => {
  const format = written(text);
  fc.assert(
    fc.property(fc.array(fc.float({ min: -4, max: 4, noNaN: true }), { minLength: 1, maxLength: 60 }), (values) => {
      const grid = gridFor(format, values);
      const once = values.map((x) => roundTo(grid, Math.fround(x)));
      const again = gridFor(format, once);
      // A mean of equal numbers may differ from them in the last bit.
      for (const x of once) expect(Math.abs(roundTo(again, x) - x)).toBeLessThanOrEqual(Math.abs(x) * 2 ** -22);
    }),
    { seed: 6, numRuns: 60 },
  );
}); // prettier-ignore

it('refuses NaN and infinite weights by name and place', () => {
  for (const bad of [NaN, Infinity, -Infinity]) {
    const weight = { data: Float32Array.of(1, bad), rows: 1, columns: 2, kernel: [] };
    expect(() => formatCodes(written('nf4'), weight, { at: 'weight "w"' })).toThrow(`${bad} at element 1 of 2`);
  }
});

it('gives groups codes of their own and the values that they stand for', () => {
  const data = fill(96, gaussian(7));
  const made = formatCodes(written('nf4:block=32'), { data, rows: 2, columns: 48, kernel: [] }, {});
  expect(made.groups).toHaveLength(4);
  const group = (i: number): number => Math.floor(i / 48) * 2 + (i % 48 >= 32 ? 1 : 0);
  for (const [i, x] of data.entries()) {
    const grid = gridOf(made.groups[group(i)]!);
    expect(made.codes[i]).toBe(codeOf(grid, x));
    expect(made.values[i]).toBe(grid.levels[made.codes[i]!]);
  }
});
