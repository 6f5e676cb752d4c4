import { dtypes } from '../../../src/graph/dtype.ts';
import { codeOf, nearestGrid, roundTo } from '../../../src/numerics/grid.ts';
import { tensorScale } from '../../../src/numerics/formats/nvfp4.ts';
import { runOperator } from '../ort.ts';
import { fill, gaussian, random } from '../samples.ts';
import { gridFor, levelsOf, rounded, written } from './support.ts';

/** Levels at scale 1: the largest value is the largest level. */
const unit = (format: string, largest: number): number[] => levelsOf(`${format}:scale=max`, [largest]);

describe.each([
  ['fp8_e4m3', 'float8e4m3fn', 448],
  ['fp8_e5m2', 'float8e5m2', 57344],
] as const)('%s', (format, type, largest) => {
  it('has the levels that onnxruntime decodes from all 256 bytes', async () => {
    const data = Uint8Array.from({ length: 256 }, (_, i) => i);
    const decoded = await runOperator('Cast', [{ type, dims: [256], data }], { to: 1 }, 'float32');
    const finite = [...new Set([...(decoded as Float32Array)].filter(Number.isFinite).map((x) => x + 0))];
    expect(unit(format, largest)).toEqual(finite.sort((a, b) => a - b));
  });

  it('rounds as onnxruntime casts, saturating, subnormal numbers, ties and all', async () => {
    const grid = gridFor(`${format}:scale=max`, [largest]);
    const next = random(8);
    const middles = [...grid.levels].slice(1).map((l, i) => (l + grid.levels[i]!) / 2);
    const spread = Array.from({ length: 10_000 }, () => (next() - 0.5) * 2 ** (next() * 40 - 20));
    const values = Float32Array.from([...middles, ...spread, 3e38, -3e38, 1e-45, -1e-45, 0]);
    const cast = await runOperator('Cast', [{ type: 'float32', dims: [values.length], data: values }], { to: dtypes[type].code, saturate: 1 }, 'float32'); // prettier-ignore
    const wrong = [...values].filter((x, i) => roundTo(grid, x) + 0 !== (cast as Float32Array)[i]! + 0);
    expect(wrong).toEqual([]);
  });
});

it('has the tables of the OCP MX specification', () => {
  expect(unit('fp4_e2m1', 6)).toEqual([-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6]);
  // Largest, least normal and least subnormal number of each element, tables 2 to 5.
  const facts = (format: string, largest: number): readonly number[] => {
    const above = levelsOf(format, [largest]).filter((l) => l > 0);
    return [above.at(-1)!, above[0]!, above.length];
  };
  expect(facts('mxfp6:element=e2m3', 7.5)).toEqual([7.5, 0.125, 31]);
  expect(facts('mxfp6:element=e3m2', 28)).toEqual([28, 0.0625, 31]);
  expect(facts('mxfp8:element=e4m3', 448)).toEqual([448, 2 ** -9, 126]);
  expect(facts('mxfp8:element=e5m2', 57344)).toEqual([57344, 2 ** -16, 123]);
  expect(facts('mxfp4', 6)).toEqual([6, 0.5, 7]);
});

it('minifloat makes the named types', () => {
  const of = (options: string, largest: number) => levelsOf(`minifloat:${options},scale=max`, [largest]);
  expect(of('exponent=4,mantissa=3,top=nan', 448)).toEqual(unit('fp8_e4m3', 448));
  expect(of('exponent=5,mantissa=2,top=ieee', 57344)).toEqual(unit('fp8_e5m2', 57344));
  expect(of('exponent=2,mantissa=1', 6)).toEqual(unit('fp4_e2m1', 6));
});

it('keeps the sign bit for nothing where nothing is below 0', () => {
  expect(levelsOf('fp4_e2m1:scale=max', [6], { signed: false })).toEqual([0, 0.5, 1, 1.5, 2, 3, 4, 6]);
});

describe('microscaling', () => {
  it('takes 2^(⌊log2 largest⌋ − emax) as the scale of a block, and saturates', () => {
    const scale = (format: string, ...values: number[]) =>
      written(format).fit(Float32Array.from(values), { signed: true, largest: 9 }).scale;
    expect(scale('mxfp4', 7.9, 1)).toBe(1);
    expect(scale('mxfp4', 8, 1)).toBe(2);
    expect(scale('mxfp8', 1)).toBe(2 ** -8);
    expect(scale('mxfp6', -3)).toBe(0.5);
    expect(scale('mxfp6:element=e3m2', -3)).toBe(2 ** -3);
    expect(rounded('mxfp4', [7.9, 5, 2.5, 0.25, -0.26])).toEqual([6, 4, 2, 0, -0.5]);
    // Below the scale that is a normal number nothing is left but 0 and the largest of the block's least.
    expect(scale('mxfp8', 2 ** -130)).toBe(2 ** -126);
  });

  it('may take a better power', () => {
    const values = fill(32, gaussian(9));
    const error = (format: string) => rounded(format, values).reduce((sum, r, i) => sum + (r - values[i]!) ** 2, 0);
    expect(error('mxfp4:scale=mse')).toBeLessThanOrEqual(error('mxfp4'));
  });

  it('has 32 values in a block, NVFP4 16', () => {
    expect(written('mxfp4').sharing).toEqual({ group: 32 });
    expect(written('nvfp4').sharing).toEqual({ group: 16 });
  });
});

describe('NVFP4', () => {
  const e4m3 = nearestGrid(Float32Array.from(unit('fp8_e4m3', 448)));

  it('has block scales of E4M3 times one scale, and products that do not depend on their order', () => {
    const next = gaussian(10);
    for (let n = 0; n < 200; n++) {
      const values = fill(16, next);
      const largest = 5 * random(n)() + 4;
      const tensor = tensorScale(largest);
      expect(Math.abs(tensor / (largest / 2688) - 1)).toBeLessThan(2 ** -15);
      const { scale, set } = written('nvfp4').fit(values, { signed: true, largest });
      const block = scale / tensor;
      expect(e4m3.levels).toContain(block);
      // The nearest E4M3 number to largest / 6 / tensor scale.
      const wanted = Math.max(...values.map(Math.abs)) / 6 / tensor;
      expect(block).toBe(e4m3.levels[codeOf(e4m3, wanted)]);
      for (const level of set.levels) {
        expect(Math.fround(level * scale)).toBe(Math.fround(Math.fround(level * block) * tensor));
        expect(level * scale).toBe(Math.fround(level * scale));
      }
    }
  });

  it('has a scale for a block of zeros, and for one far below the others', () => {
    for (const values of [[0, 0], [1e-9, 0], [1e-40]])
      for (const largest of [1, 3e38]) {
        const { scale } = written('nvfp4').fit(Float32Array.from(values), { signed: true, largest });
        expect(scale).toBeGreaterThanOrEqual(2 ** -126);
        expect(Number.isFinite(scale)).toBe(true);
      }
  });
});

it('NF4 is the published table, bit for bit', () => {
  const published = [
    -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
  ]; // prettier-ignore
  expect(levelsOf('nf4', [1])).toEqual(published);
  expect(written('nf4').sharing).toEqual({ group: 64 });
});

it('the dynamic map has 256 levels over seven decades', () => {
  const signed = levelsOf('dynamic_tree', [1]);
  expect(signed).toHaveLength(256);
  expect(signed[0]).toBe(Math.fround(-0.99296875));
  expect(signed.at(-1)).toBe(1);
  // The least: the middle of [0.1, 1] at 10^-6.
  expect(Math.min(...signed.filter((l) => l > 0))).toBe(Math.fround(5.5e-7));
  const unsigned = levelsOf('dynamic_tree', [1], { signed: false });
  expect(unsigned).toHaveLength(256);
  expect([unsigned[0], unsigned[1], unsigned.at(-2)]).toEqual([0, Math.fround(3.25e-7), Math.fround(0.996484375)]);
});
