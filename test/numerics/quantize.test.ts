import fc from '../helpers/fc.ts';
import type { DType } from '../../src/graph/dtype.ts';
import type { Granularity, NumberFormat, QuantParams } from '../../src/numerics/format.ts';
import { layoutOf } from '../../src/numerics/layout.ts';
import {
  dequantize,
  groupRanges,
  minMaxParams,
  quantize,
  quantizeBias,
  roundToNearest,
} from '../../src/numerics/quantize.ts';
import { rowView, toRows } from '../../src/numerics/rows.ts';
import { fakeQuantize } from './reference.ts';
import { runOperator } from './ort.ts';

type IntFormat = Extract<NumberFormat, { kind: 'int' }>;
const int = (bits: number, signed: boolean): IntFormat => ({ kind: 'int', bits, signed, symmetric: false });
const formats: Partial<Record<DType, IntFormat>> = {
  uint8: int(8, false),
  int8: int(8, true),
  uint16: int(16, false),
  int16: int(16, true),
  uint4: int(4, false),
  int4: int(4, true),
  uint2: int(2, false),
  int2: int(2, true),
};

function params(type: DType, granularity: Granularity, scale: number[], zeroPoint: number[]): QuantParams {
  return {
    format: formats[type] as IntFormat,
    granularity,
    scale: Float32Array.from(scale),
    zeroPoint: Int32Array.from(zeroPoint),
  };
}

const perTensor: Granularity = { per: 'tensor' };
const axis = (a: number): Granularity => ({ per: 'channel', axis: a });
const blocks = (a: number, size: number): Granularity => ({ per: 'group', axis: a, size });
const square = [-30, -20, 6, 9, 12, 15, 16, 40];

// The node tests of the ONNX specification, onnx/backend/test/case/node/quantizelinear.py.
// prettier-ignore
const quantizeTable: [string, DType, number[], number[], Granularity, number[], number[], number[]][] = [
  ['quantizelinear', 'uint8', [6], [0, 2, 3, 1000, -254, -1000], perTensor, [2], [128], [128, 129, 130, 255, 1, 0]],
  ['axis', 'uint8', [1, 3, 3, 2], [-162, 10, -100, 232, -20, -50, -76, 0, 0, 252, 32, -44, 245, -485, -960, -270, -375, -470],
    axis(1), [2, 4, 5], [84, 24, 196], [3, 89, 34, 200, 74, 59, 5, 24, 24, 87, 32, 13, 245, 99, 4, 142, 121, 102]],
  ['uint16', 'uint16', [12], [0, -128, 3, -3, 2.9, -2.9, 3.1, -3.1, 65536, -65534, 70000, -70000], perTensor, [2], [32767],
    [32767, 32703, 32769, 32765, 32768, 32766, 32769, 32765, 65535, 0, 65535, 0]],
  ['int16', 'int16', [16],
    [0, -514, 3, -3, 2.9, -2.9, 3.1, -3.1, 65022, -66046, 65023, -66047, 65024, -66048, 70000, -70000], perTensor, [2], [256],
    [256, -1, 258, 254, 257, 255, 258, 254, 32767, -32767, 32767, -32768, 32767, -32768, 32767, -32768]],
  ['uint4', 'uint4', [3, 4], [0, 2.5, 4.8, 8.6, ...square], axis(0), [2, 3, 4], [1, 1, 1], [1, 2, 3, 5, 0, 0, 3, 4, 4, 5, 5, 11]],
  ['int4', 'int4', [3, 4], [0, 2.5, 4.8, 8.6, ...square], axis(0), [2, 3, 4], [1, 1, 1], [1, 2, 3, 5, -8, -6, 3, 4, 4, 5, 5, 7]],
  ['uint2', 'uint2', [3, 4], [0, 2.5, 4.8, 8.6, -2, -1, 1, 3, 4, 5, 6, 7], axis(0), [2, 3, 4], [0, 0, 0],
    [0, 1, 2, 3, 0, 0, 0, 1, 1, 1, 2, 2]],
  ['int2', 'int2', [3, 4], [0, 2.5, 4.8, 8.6, -4, -3, 1, 2, -0, -2.5, -4.8, -8.6], axis(0), [2, 3, 4], [0, 0, 0],
    [0, 1, 1, 1, -1, -1, 0, 1, 0, -1, -1, -2]],
  ['blocked_asymmetric', 'uint8', [3, 4], [6, 12, 50, 5, 1, 8, 4, 5, 0, 20, 10, 4], blocks(1, 2),
    [1.5, 2.5, 3, 4.9, 5.1, 6.9], [0, 1, 1, 0, 2, 3], [4, 8, 21, 3, 1, 4, 1, 1, 2, 6, 4, 4]],
  ['blocked_symmetric', 'int16', [3, 4], [6, -8, -10, 5, 1, 8, 4, 5, 0, 20, 10, 4], blocks(1, 2),
    [1.5, 2.5, 3, 4.9, 5.1, 6.9], [0, 0, 0, 0, 0, 0], [4, -5, -4, 2, 0, 3, 1, 1, 0, 4, 1, 1]],
];

// onnx/backend/test/case/node/dequantizelinear.py
// prettier-ignore
const dequantizeTable: [string, DType, number[], number[], Granularity, number[], number[], number[]][] = [
  ['dequantizelinear', 'uint8', [4], [0, 3, 128, 255], perTensor, [2], [128], [-256, -250, 0, 254]],
  ['axis', 'uint8', [1, 3, 3, 2], [3, 89, 34, 200, 74, 59, 5, 24, 24, 87, 32, 13, 245, 99, 4, 142, 121, 102], axis(1), [2, 4, 5],
    [84, 24, 196], [-162, 10, -100, 232, -20, -50, -76, 0, 0, 252, 32, -44, 245, -485, -960, -270, -375, -470]],
  ['uint16', 'uint16', [4], [30000, 31000, 32768, 33000], perTensor, [2], [32767], [-5534, -3534, 2, 466]],
  ['int16', 'int16', [4], [-300, -30, -1025, 1270], perTensor, [2], [-1024], [1448, 1988, -2, 4588]],
  ['uint4', 'uint4', [5], [0, 1, 7, 10, 15], perTensor, [2], [1], [-2, 0, 12, 18, 28]],
  ['int4', 'int4', [5], [0, 1, 7, -4, -8], perTensor, [2], [1], [-2, 0, 12, -10, -18]],
  ['uint2', 'uint2', [4], [0, 1, 2, 3], perTensor, [2], [1], [-2, 0, 2, 4]],
  ['int2', 'int2', [4], [0, 1, -1, -2], perTensor, [2], [1], [-2, 0, -4, -6]],
];

describe("ONNX's reference tables", () => {
  it.each(quantizeTable)('QuantizeLinear %s', (_, type, dims, x, granularity, scale, zeroPoint, y) => {
    expect([...quantize(Float32Array.from(x), dims, params(type, granularity, scale, zeroPoint))]).toEqual(y);
  });
  it.each(dequantizeTable)('DequantizeLinear %s', (_, type, dims, x, granularity, scale, zeroPoint, y) => {
    const codes = quantize(new Float32Array(x.length), [x.length], params(type, perTensor, [1], [0]));
    codes.set(x);
    expect([...dequantize(codes, dims, params(type, granularity, scale, zeroPoint))]).toEqual(y);
  });
});

/** Values on and beside every rounding boundary, far beyond the range, and plain ones, from a fixed linear congruence. */
function awkward(count: number, scale: number, far: number): Float32Array {
  const data = new Float32Array(count);
  let seed = 12345;
  for (let i = 0; i < count; i++) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    const u = (seed / 2 ** 32) * 2 - 1;
    const step = Math.round(u * 300);
    const kind = i % 5;
    if (kind === 0) data[i] = (step + 0.5) * scale;
    else if (kind === 1) data[i] = (step + 0.5) * scale * (1 + 2 ** -23);
    else if (kind === 2) data[i] = u * Math.min(far, 1e30);
    else data[i] = u * 200 * scale;
  }
  data.set([0, -0, far, -far, 1e-45, -1e-45].slice(0, count));
  return data;
}

describe('onnxruntime itself', () => {
  const cases: [DType, number[], Granularity][] = [];
  for (const type of ['uint8', 'int8', 'uint16', 'int16', 'uint4', 'int4'] as DType[]) {
    cases.push([type, [4, 3, 5, 7], perTensor], [type, [4, 3, 5, 7], axis(1)], [type, [4, 6, 5], blocks(1, 3)]);
    cases.push([type, [7, 9], blocks(0, 4)], [type, [5, 33], axis(1)]);
  }
  it.each(cases)('gives the same bits for %s %j %j', async (type, dims, granularity) => {
    const layout = layoutOf(dims, granularity);
    const { bits, signed } = formats[type] as IntFormat;
    // Scales that are no powers of two, so that quotients need rounding; zero points over the whole range.
    const scale = Float32Array.from({ length: layout.params }, (_, i) => 0.013 * (1 + i / 3));
    const zeroPoint = Int32Array.from(
      { length: layout.params },
      (_, i) => ((i * 37) % 2 ** bits) - (signed ? 2 ** (bits - 1) : 0),
    );
    const p: QuantParams = { format: formats[type] as IntFormat, granularity, scale, zeroPoint };
    // onnxruntime's blocked and 4-bit kernels saturate only while x / scale fits int32; the others do so up to infinity.
    const x = awkward(layout.elements, 0.013, granularity.per === 'group' || bits === 4 ? 2e7 : Infinity);
    const codes = quantize(x, dims, p);
    const zero = quantize(new Float32Array(layout.params), [layout.params], params(type, perTensor, [1], [0]));
    zero.set(zeroPoint);
    const attributes = {
      axis: granularity.per === 'tensor' ? 1 : granularity.axis,
      block_size: granularity.per === 'group' ? granularity.size : 0,
    };
    const scaleTensor = { type: 'float32' as const, dims: layout.paramDims, data: scale };
    const zeroTensor = { type, dims: layout.paramDims, data: zero };
    const theirs = await runOperator(
      'QuantizeLinear',
      [{ type: 'float32', dims, data: x }, scaleTensor, zeroTensor],
      attributes,
      'float32',
    );
    expect(Array.from(theirs as Float32Array)).toEqual(Array.from(codes));
    const back = await runOperator(
      'DequantizeLinear',
      [{ type, dims, data: codes }, scaleTensor, zeroTensor],
      attributes,
      'float32',
    );
    const real = dequantize(codes, dims, p);
    expect(Array.from(real)).toEqual(Array.from(back as Float32Array));
    expect(Array.from(fakeQuantize(x, dims, p))).toEqual(Array.from(real));
  });
});

describe('groups', () => {
  const shape = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 });
  it('ranges are those of a scan over every element', () => {
    fc.assert(
      fc.property(
        shape,
        fc.nat(),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 0, max: 2 }),
        (dims, a, size, kind) => {
          const at = a % dims.length;
          const granularity = [perTensor, axis(at), blocks(at, size)][kind] as Granularity;
          const layout = layoutOf(dims, granularity);
          const x = awkward(layout.elements, 1, 1e9).map((v) => v || 1);
          const lo = new Float32Array(layout.params).fill(Infinity);
          const hi = new Float32Array(layout.params).fill(-Infinity);
          for (let e = 0; e < x.length; e++) {
            const i = e % layout.inner;
            const g = Math.floor((Math.floor(e / layout.inner) % layout.axis) / layout.size);
            const o = Math.floor(e / layout.inner / layout.axis);
            const p = o * layout.strideOuter + g * layout.strideGroup + i * layout.strideInner;
            lo[p] = Math.min(lo[p] as number, x[e] as number);
            hi[p] = Math.max(hi[p] as number, x[e] as number);
          }
          expect(groupRanges(x, dims, granularity)).toEqual({ lo, hi });
          // Within its range no element moves by more than half a step (and a rounding of the scale's last bit).
          const p = minMaxParams(x, dims, int(8, false), granularity);
          const y = fakeQuantize(x, dims, p);
          const worst = Math.max(...p.scale);
          y.forEach((v, e) => expect(Math.abs(v - (x[e] as number))).toBeLessThanOrEqual(worst * 0.5 * (1 + 1e-4)));
        },
      ),
      { numRuns: 150 },
    );
  });

  it('says what is wrong', () => {
    expect(() => layoutOf([2, 3], axis(2))).toThrow('axis 2 does not exist');
    expect(() => layoutOf([2, 3], blocks(1, 0))).toThrow('positive integer');
    expect(() => quantize(new Float32Array(5), [2, 3], params('int8', perTensor, [1], [0]))).toThrow('5 elements');
    expect(() => quantize(new Float32Array(6), [2, 3], params('int8', axis(1), [1], [0]))).toThrow('need 3 scales');
    expect(() => groupRanges(Float32Array.of(1, NaN), [2], perTensor, 'conv1.weight')).toThrow('NaN at element 1 of 2');
  });

  it('takes empty tensors and scalars', () => {
    expect(groupRanges(new Float32Array(0), [3, 0], axis(0))).toEqual({
      lo: new Float32Array(3),
      hi: new Float32Array(3),
    });
    expect([
      ...fakeQuantize(Float32Array.of(3), [], minMaxParams(Float32Array.of(3), [], int(8, false), perTensor)),
    ]).toEqual([3]);
  });
});

it('quantizes a bias to int32 with the product of the scales', () => {
  const { codes, scale } = quantizeBias(Float32Array.of(1, -2.5, 1e20), 0.5, Float32Array.of(0.25, 1, 1));
  expect([...scale]).toEqual([0.125, 0.5, 0.5]);
  expect([...codes]).toEqual([8, -5, 2147483647]);
});

describe('roundToNearest', () => {
  const numbers = fc.oneof(
    { weight: 6, arbitrary: fc.float({ noNaN: true, noDefaultInfinity: true, min: -2, max: 2 }) },
    { weight: 2, arbitrary: fc.constantFrom(0, -0, 1e-40, -1e-45, 2 ** -126, 3e38, -1e38) },
  );
  // A matrix, its transpose, a kernel with outputs first and last, and two groups whose inputs come first.
  const views = fc.constantFrom(
    { dims: [70, 37], out: [0] },
    { dims: [37, 70], out: [1] },
    { dims: [5, 3, 2, 2], out: [0] },
    { dims: [2, 3, 4], out: [2] },
    { dims: [4, 3, 5], out: [1], split: { axis: 0, groups: 2 } },
  );
  const kinds = fc.constantFrom(int(4, false), int(8, true), { ...int(3, true), symmetric: true, narrow: true });
  const sizes = fc.constantFrom(undefined, 1, 16, 32, 256);

  it('gives the bits of ranges, parameters and rounding one after the other', () => {
    fc.assert(
      fc.property(views, kinds, sizes, fc.array(numbers, { minLength: 1, maxLength: 99 }), (v, format, size, some) => {
        const data = new Float32Array(v.dims.reduce((a, b) => a * b, 1)).map((_, i) => some[(i * 31) % some.length]!);
        const view = rowView(v.dims, v.out, v.split);
        const granularity = size === undefined ? { per: 'channel' as const, axis: 0 } : { per: 'group' as const, axis: 1, size }; // prettier-ignore
        const dims = [view.rows, view.columns];
        let expected: unknown;
        try {
          const chosen = minMaxParams(toRows(data, view), dims, format, granularity);
          expected = { codes: quantize(toRows(data, view), dims, chosen), params: chosen };
        } catch {
          expect(() => roundToNearest(data, view, format, granularity)).toThrow('too wide');
          return;
        }
        expect(roundToNearest(data, view, format, granularity)).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });

  it('names the first element that is not finite, in the order of rows', () => {
    const data = Float32Array.of(1, 2, 3, Infinity, 5, NaN);
    expect(() => roundToNearest(data, rowView([2, 3], [1]), int(4, false), axis(0) as never, 'w')).toThrow(
      'Infinity at element 1 of 6',
    );
  });
});
