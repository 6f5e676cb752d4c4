import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { edit } from '../../../src/graph/edit.ts';
import { stretchedLevel } from '../../../src/numerics/grid.ts';
import { codeOf, roundTo } from '../../../src/numerics/grid.ts';
import { blockGrid, type BlockGrid } from '../../../src/numerics/formats/run_time.ts';
import { writtenFormat } from '../../../src/numerics/formats/written.ts';
import { addBlockRounding } from '../../../src/passes/quantize/rounded_value.ts';
import { formatQuantizer } from '../../../src/passes/quantize/to_format.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, random, smallConvNet } from '../../helpers/models.ts';

/**
 * Rounds rows of `length` numbers block by block, what the nodes of `addBlockRounding` give. The last block of a row may be shorter. NaN stays and counts for no scale; infinities go
 * to the ends of the largest scale.
 */
function roundBlocks({ block, scales, unit }: BlockGrid, values: Float32Array, length: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < values.length; row += length)
    for (let start = row; start < row + length; start += block) {
      const end = Math.min(row + length, start + block);
      let largest = 0;
      for (let i = start; i < end; i++)
        if (!Number.isNaN(values[i]!)) largest = Math.max(largest, Math.abs(values[i]!));
      const scale = roundTo(scales, largest);
      for (let i = start; i < end; i++) {
        const value = values[i]!;
        out[i] = Number.isNaN(value) ? value : unit.levels[codeOf(unit, Math.fround(value / scale))]! * scale;
      }
    }
  return out;
}

const names = [
  ...['mxfp4', 'mxfp6', 'mxfp6:element=e3m2', 'mxfp8', 'mxfp8:element=e5m2', 'mxfp4:block=16', 'nvfp4'],
  ...['dynamic_fixed:block=16', 'dynamic_fixed:bits=4,block=32,rounding=floor'],
];
const of = (name: string) => {
  const format = writtenFormat.parse(name);
  return { format, grid: blockGrid(format, format.runTimeBlock!, { signed: true, largest: 100 }) };
};

/** Rows of 100 numbers, some blocks of which are far larger or smaller than others, powers of two among them. */
const ordinary = (): Float32Array => {
  const next = random(11);
  const plain = noise(12, 10_000);
  return plain.map((v, i) => {
    const size = 2 ** ((Math.floor(i / 16) % 61) - 30);
    return next() < 0.1 ? Math.sign(v) * 2 ** Math.floor(8 * next() - 4) * size : v * size;
  });
};
/** The same with what is odd: ends of float32, halves of steps, denormal numbers, zeros of both signs and whole blocks of them. */
const odd = (): Float32Array => {
  const values = ordinary();
  const most = 2 ** 128 - 2 ** 104;
  for (const [row, own] of [[NaN], [Infinity], [-Infinity, NaN], [2 ** -149], [-(2 ** -130), 2 ** -126], [most, -most], [2 ** 127], [-0], [0.25, 0.75, 2.5, 5, 6.5, 7, 1]].entries()) values.set(own, 100 * row + 7); // prettier-ignore
  for (const row of [3, 4, 7]) for (let i = 0; i < 100; i++) if (values[100 * row + i]! ** 2 > 1e-70) values[100 * row + i] = 0; // prettier-ignore
  values.fill(NaN, 2000, 2100);
  values.fill(-0, 2100, 2200);
  return values;
};

describe.each(names)('blocks of activations in %s', (name) => {
  const { format, grid } = of(name);

  it.each([13, 18])(
    'are rounded by onnxruntime as by roundBlocks, bit for bit, along any axis (operator set %d)',
    async (opset) => {
      const values = odd();
      const expected = roundBlocks(grid, values, 100);
      // The rows' numbers along the last axis, or the second of four: [n, 100] and [n, 100, 2, 5] turned.
      for (const [dims, axis] of [
        [[100, 100], 1],
        [[10, 100, 2, 5], 1],
      ] as const) {
        const inner = dims.slice(axis + 1).reduce((a: number, b: number) => a * b, 1);
        const place = (i: number): number => {
          const [row, column] = [Math.floor(i / 100), i % 100];
          return (Math.floor(row / inner) * 100 + column) * inner + (row % inner);
        };
        const laid = (from: Float32Array): Float32Array => {
          const to = new Float32Array(from.length);
          for (let i = 0; i < from.length; i++) to[place(i)] = from[i]!;
          return to;
        };
        const plain = makeModel({
          inputs: [makeValue('x', 'float32', ['n', ...dims.slice(1)])],
          outputs: [makeValue('y', 'float32')],
          nodes: [makeNode('Identity', ['x'], ['y'])],
          initializers: [],
          opset,
        });
        const model = edit(plain, (draft) => {
          const blocked = { value: 'x', rank: dims.length, axis, length: 100, opset };
          draft.addNode(makeNode('Identity', [addBlockRounding(draft, blocked, grid)], ['z']));
          draft.addOutput(makeValue('z', 'float32'));
        });
        for (const level of ['disabled', 'all'] as const) {
          const { z } = await runModel(model, { x: floats(laid(values), dims) }, level);
          expect(z).toEqual({ type: 'float32', dims, data: laid(expected) });
        }
      }
    },
  );

  it('are rounded as weights are', () => {
    const values = ordinary();
    const got = roundBlocks(grid, values, 100);
    const apart: number[] = [];
    for (let row = 0; row < values.length; row += 100)
      for (let start = row; start < row + 100; start += grid.block) {
        const own = values.subarray(start, Math.min(row + 100, start + grid.block));
        const fitted = format.fit(own, { signed: true, largest: 100 });
        for (const [i, code] of format.codes(own, fitted, 0).entries()) {
          const wanted = stretchedLevel(fitted.set.levels[code]!, fitted.scale);
          if (got[start + i] !== wanted) apart.push(start + i);
        }
      }
    // NVFP4's scales are no powers of two: division rounds, and at a half of a step the neighbour may be taken.
    if (name === 'nvfp4') expect(apart.length).toBeLessThan(10);
    else expect(apart).toEqual([]);
  });
});

it('the scale of a block is the power of two of the MX specification at every power and beside it', () => {
  const { grid } = of('mxfp8');
  for (let e = -110; e <= 127; e++)
    for (const [value, exponent] of [
      [2 ** e, e],
      [2 ** e * (1 - 2 ** -24), e - 1],
      [1.5 * 2 ** e, e],
    ] as const)
      // prettier-ignore
      // Its own power of two in blocks of it alone is 2^8 = 256 at E4M3's scale: 448 is the end.
      expect(roundBlocks(grid, Float32Array.of(value, 2 ** (exponent - 17)), 2)[1]).toBe(2 ** (exponent - 17));
});

describe('FormatQuantizer', () => {
  const images = { x: floats(noise(1, 8 * 192), [8, 3, 8, 8]) };
  const float = smallConvNet();
  const quantized = (options: object) =>
    formatQuantizer.apply(
      float,
      formatQuantizer.options.parse(options),
      testContext({ calibration: [images], reference: float }),
    );

  it('rounds what layers read in blocks along what they sum over, and says that zeros fill the last', async () => {
    const { model, changed } = await quantized({ activations: 'mxfp8' });
    expect(changed[0]?.text).toBe('input "x" rounded to mxfp8: blocks of 32 along axis 1, the last filled up with zeros, their scales found at run time'); // prettier-ignore
    const wanted = (await runModel(float, images)).y!.data as Float32Array;
    for (const level of ['disabled', 'all'] as const) {
      const got = (await runModel(model, images, level)).y!.data as Float32Array;
      const error =
        got.reduce((sum, v, i) => sum + (v - wanted[i]!) ** 2, 0) / wanted.reduce((sum, v) => sum + v * v, 0);
      // Three bits of mantissa are about 30 dB a layer.
      expect([level, error > 0, error < 10 ** -2]).toEqual([level, true, true]);
    }
  });

  it('refuses scales that would have to be searched for', () => {
    expect(() => quantized({ activations: 'mxfp4:scale=mse' })).toThrow(
      'mxfp4 cannot hold activations: a scale of least error is searched for',
    );
  });
});
