import fc from '../../helpers/fc.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { layers } from '../../../src/graph/layer.ts';
import type { Model } from '../../../src/graph/model.ts';
import type { Shapes } from '../../../src/graph/shapes.ts';
import { dimsOf, floatData, makeTensor } from '../../../src/graph/tensor.ts';
import type { NumberFormat, QuantParams } from '../../../src/numerics/format.ts';
import { dequantize, quantize } from '../../../src/numerics/quantize.ts';
import { activationFormats, activationParams, describeParams, formatParams, scaleAxis, weightParams } from '../../../src/passes/quantize/params.ts'; // prettier-ignore
import { quantizedRegion } from '../../../src/passes/quantize/region.ts';
import { smallestType, storageType, zeroPoints } from '../../../src/passes/quantize/weights.ts';
import { noise, weight } from '../../helpers/models.ts';

const unknown: Shapes = new Map();
const int8 = { kind: 'int', bits: 8, signed: true, symmetric: true, narrow: true } as const;
const uint = (bits: number) => ({ kind: 'int', bits, signed: false, symmetric: false }) as const;

/** x → MatMul a, x → MatMul b, a → Clip(lo, hi) → MatMul c. */
const clipped = (lo: number, hi: number): Model =>
  makeModel({
    opset: 13,
    inputs: [makeValue('x', 'float32', ['N', 4])],
    outputs: [makeValue('y', 'float32'), makeValue('b', 'float32')],
    initializers: [
      ...['wa', 'wb', 'wc'].map((name, i) => weight(name, [4, 4], i)),
      makeTensor('lo', 'float32', [], Float32Array.of(lo)),
      makeTensor('hi', 'float32', [], Float32Array.of(hi)),
    ],
    nodes: [
      makeNode('MatMul', ['x', 'wa'], ['a'], {}, { name: 'a' }),
      makeNode('MatMul', ['x', 'wb'], ['b'], {}, { name: 'b' }),
      makeNode('Clip', ['a', 'lo', 'hi'], ['r']),
      makeNode('MatMul', ['r', 'wc'], ['y'], {}, { name: 'c' }),
    ],
  });
const regionOf = (model: Model) => quantizedRegion(model, unknown, () => undefined);

describe('activationFormats', () => {
  const model = clipped(0, 6);
  const asked = (bits: Record<string, NumberFormat | undefined>): unknown => {
    const nodes = model.graph.node.map(
      (node) => [node, { weights: int8, activations: bits[node.name], perChannel: true }] as const,
    );
    const found = activationFormats(regionOf(model), new Map(nodes), 5);
    return Object.fromEntries([...found].map(([value, { bits: width }]) => [value, width]));
  };

  it('are as wide as the widest reader asks, and of no width of a node that multiplies by no weights', () => {
    expect(asked({ a: uint(8), b: uint(16), c: uint(7) })).toEqual({ x: 16, r: 7 });
    expect(asked({ a: uint(16), b: uint(8), c: uint(7) })).toEqual({ x: 16, r: 7 });
    expect(asked({ a: { kind: 'float', bits: 32 }, b: uint(8), [model.graph.node[2]!.name]: uint(16) })).toEqual({
      x: 8,
      r: 5,
    });
  });

  it('are unsigned, with a zero point', () => {
    const [format] = activationFormats(regionOf(model), new Map(), 8).values();
    expect(format).toEqual({ kind: 'int', bits: 8, signed: false, symmetric: false });
  });
});

describe('activationParams', () => {
  const paramsOf = (bounds: [number, number], range: { min: number; max: number }, bits = 8): QuantParams => {
    const region = regionOf(clipped(...bounds));
    const ranges = new Map([['x', { min: -1, max: 1 }], ['r', range]]); // prettier-ignore
    const formats = new Map([['x', uint(8)], ['r', uint(bits)]]); // prettier-ignore
    return activationParams(region, ranges, formats).get('r') as QuantParams;
  };
  /** What the codes at both ends stand for. */
  const ends = ({ format, scale, zeroPoint }: QuantParams): [number, number] => {
    const [s, z] = [scale[0] as number, zeroPoint[0] as number];
    return [Math.fround(-z * s), Math.fround((2 ** format.bits - 1 - z) * s)];
  };

  it('never reach beyond the Clip before the value, and miss its end by no more than float32 rounds', () => {
    fc.assert(
      fc.property(
        fc.float({ min: Math.fround(0.001), max: 1000, noNaN: true }),
        fc.constantFrom(4, 8, 16),
        (hi, bits) => {
          const params = paramsOf([0, hi], { min: 0, max: 2 * hi }, bits);
          const [low, high] = ends(params);
          expect(low).toBe(-0);
          expect(high).toBeLessThanOrEqual(hi);
          expect(high).toBeGreaterThan(hi * (1 - 2 ** -20));
        },
      ),
    );
  });

  it.each<[string, [number, number], [number, number], number, number]>([
    ['inside the bounds: the range', [-6, 6], [-1, 2], -1, 2],
    ['beyond them: the bounds', [-1, 6], [-9, 9], -1, 6],
    ['above them: up to the upper one', [-1, 6], [7, 9], 0, 6],
  ])('%s', (_, bounds, [min, max], low, high) => {
    const params = paramsOf(bounds, { min, max });
    expect(params.granularity).toEqual({ per: 'tensor' });
    // Zero is on the grid, so that both ends are off by half a step at most.
    const step = params.scale[0] as number;
    expect(Math.abs(ends(params)[0] - low)).toBeLessThanOrEqual(step / 2 + 1e-6);
    expect(Math.abs(ends(params)[1] - high)).toBeLessThanOrEqual(step / 2 + 1e-6);
    expect(Math.abs(ends(params)[1] - ends(params)[0] - (high - low))).toBeLessThanOrEqual(step / 2 + 1e-5);
  });
});

/** A Conv's weight, [4, 3, 1, 1], as a layer has it. */
const weightOf = (data: Float32Array, dims = [4, data.length / 4, 1, 1]) => {
  const model = makeModel({
    opset: 13,
    inputs: [makeValue('x', 'float32', ['N', dims[1] as number, 4, 4])],
    outputs: [makeValue('y', 'float32')],
    initializers: [makeTensor('w', 'float32', dims, data)],
    nodes: [makeNode('Conv', ['x', 'w'], ['y'])],
  });
  return layers(model).layers[0]!.weight;
};
const biasOf = (...values: number[]) => makeTensor('b', 'float32', [values.length], Float32Array.from(values));

describe('weightParams', () => {
  const extremes = (data: Float32Array, c: number): number =>
    Math.max(...data.subarray(3 * c, 3 * c + 3).map(Math.abs));

  it('are the largest weight of each channel over 127, coarser only where a bias would not fit half of int32', () => {
    const value = fc.oneof(fc.constant(0), fc.float({ min: -2, max: 2, noNaN: true }));
    const huge = fc.oneof(value, fc.float({ min: -1e6, max: 1e6, noNaN: true }));
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 12, maxLength: 12 }),
        fc.array(fc.array(huge, { minLength: 4, maxLength: 4 }), { minLength: 1, maxLength: 2 }),
        fc.float({ min: Math.fround(1e-4), max: 1, noNaN: true }),
        fc.boolean(),
        (weights, biases, inputScale, perChannel) => {
          // Below that the codes' scale has no float32 of full precision.
          const data = Float32Array.from(weights, (w) => (Math.abs(w) < 1e-6 ? 0 : w));
          const uses = biases.map((b) => ({ bias: biasOf(...b), inputScale }));
          const { scale } = weightParams(weightOf(data), int8, perChannel, uses, 'minmax');
          const channels = perChannel ? [0, 1, 2, 3] : [0];
          const own = channels.map((c) => (perChannel ? extremes(data, c) : Math.max(...data.map(Math.abs))) / 127);
          const living = own.filter((s) => s > 0);
          expect(scale).toHaveLength(channels.length);
          for (const c of channels) {
            const most = Math.max(...biases.flatMap((b) => (perChannel ? [b[c] as number] : b)).map(Math.abs));
            const least = most / inputScale / 2 ** 30;
            // A channel of zeros takes the finest scale of the others.
            const before = own[c] || (living.length > 0 ? Math.min(...living) : 1 / 128);
            if (uses.length === 1) expect(scale[c]).toBeCloseTo(Math.max(before, least), 6);
            expect(Math.abs(most / (inputScale * (scale[c] as number)))).toBeLessThanOrEqual(2 ** 30 * 1.0001);
          }
        },
      ),
    );
  });

  it('hold the biases of all layers that share the weight, also where the channel is zero', () => {
    const data = Float32Array.of(0, 0, 0, ...noise(1, 9, 1e-6));
    const uses = [biasOf(50, 0, 0, 0), biasOf(0, 0, 0, 0)].map((bias) => ({ bias, inputScale: 0.01 }));
    for (const order of [uses, [...uses].reverse()]) {
      const { scale } = weightParams(weightOf(data), int8, true, order, 'minmax');
      expect(50 / (0.01 * (scale[0] as number))).toBeCloseTo(2 ** 30, -3);
    }
  });

  it('keep the scale of a channel of zeros where there is no bias', () => {
    const data = Float32Array.of(0, 0, 0, ...noise(1, 9));
    const { scale } = weightParams(weightOf(data), int8, true, [], 'minmax');
    expect(scale).toEqual(formatParams(makeTensor('w', 'float32', [4, 3, 1, 1], data), int8, 0, 'minmax').scale);
  });

  it('find the channels of zeros along any axis', () => {
    // ConvTranspose: [in, out, 1, 1], so that an output channel is a column.
    const data = Float32Array.from({ length: 12 }, (_, i) => (i % 4 === 1 ? 0 : 1 + i));
    const model = makeModel({
      opset: 13,
      inputs: [makeValue('x', 'float32', ['N', 3, 4, 4])],
      outputs: [makeValue('y', 'float32')],
      initializers: [makeTensor('w', 'float32', [3, 2, 2, 1], data)],
      nodes: [makeNode('ConvTranspose', ['x', 'w'], ['y'])],
    });
    const [layer] = layers(model).layers;
    const zeros = makeTensor('w', 'float32', [3, 4, 1, 1], data);
    const turned = { ...layer!.weight, tensor: zeros, dims: dimsOf(zeros) };
    const { scale } = weightParams(turned, int8, true, [{ bias: biasOf(0, 0, 0, 0), inputScale: 1 }], 'minmax');
    // Column 1 is zero and takes the finest of columns 0, 2 and 3: 9, 11 and 12 over 127.
    expect([...scale].map((s) => Math.round(s * 127))).toEqual([9, 9, 11, 12]);
  });
});

it.each<[number[] | undefined, number | undefined]>([
  [[1], 1],
  [[0, 2], undefined],
  [undefined, undefined],
])('scales of outputs on axes %j are along %s', (out, axis) => {
  const axes = out && { out, in: [], groups: 1, grouped: 'out' as const };
  expect(scaleAxis({ axes })).toBe(axis);
});

describe('formatParams', () => {
  const data = noise(3, 64).map((w, i) => (i === 5 ? 4 : w));
  const tensor = makeTensor('w', 'float32', [8, 8], data);
  const error = (params: QuantParams): number => {
    const back = dequantize(quantize(data, [8, 8], params), [8, 8], params);
    return floatData(tensor).reduce((sum, w, i) => sum + (w - (back[i] as number)) ** 2, 0);
  };
  const three = { ...int8, bits: 3 };

  it('searches a scale of less squared error than the extremes give', () => {
    const [searched, plain] = [formatParams(tensor, three, undefined, 'mse'), formatParams(tensor, three, undefined, 'minmax')]; // prettier-ignore
    expect(plain.scale[0]).toBeCloseTo(4 / 3, 6);
    expect(error(searched)).toBeLessThan(error(plain));
    expect([searched.granularity, plain.granularity]).toEqual([{ per: 'tensor' }, { per: 'tensor' }]);
    expect(formatParams(tensor, three, 1, 'mse').granularity).toEqual({ per: 'channel', axis: 1 });
  });

  it('takes the step of a coded format as it is', () => {
    expect(formatParams(tensor, { kind: 'coded', bits: 3, step: 0.25 }, 0, 'mse').scale).toEqual(Float32Array.of(0.25));
  });
});

it.each<[Partial<QuantParams>, string]>([
  [{ format: int8, scale: Float32Array.of(1) }, 'int8 per tensor'],
  [{ format: int8, granularity: { per: 'channel', axis: 0 }, scale: new Float32Array(16) }, 'int8 per channel (16 scales)'], // prettier-ignore
  [{ format: { ...int8, bits: 4 }, granularity: { per: 'group', axis: 1, size: 2 }, scale: new Float32Array(3) }, 'int4 per group (3 scales)'], // prettier-ignore
  [{ format: uint(8), scale: Float32Array.of(0.125), zeroPoint: Int32Array.of(8) }, 'uint8 -1 … 30.88'],
])('describes %j as %s', (params, text) => {
  const rest = { granularity: { per: 'tensor' }, zeroPoint: Int32Array.of(0) } as const;
  expect(describeParams({ ...rest, ...params } as QuantParams)).toBe(text);
});

it.each([2, 3, 4, 5, 7, 8, 9, 16])('codes of %d bits lie in the smallest ONNX type that holds them', (bits) => {
  const width = [2, 4, 8, 16].find((w) => w >= bits);
  expect(smallestType(bits, true)).toBe(`int${width}`);
  expect(smallestType(bits, false)).toBe(`uint${width}`);
  // Integer kernels take whole bytes.
  expect(storageType({ ...int8, bits })).toBe(bits > 8 ? 'int16' : 'int8');
  expect(storageType({ ...uint(bits) })).toBe(bits > 8 ? 'uint16' : 'uint8');
});

it.each([
  ['int2', Int8Array, -2],
  ['int4', Int8Array, -8],
  ['int8', Int8Array, -128],
  ['int16', Int16Array, -32768],
  ['int32', Int32Array, -(2 ** 31)],
  ['uint2', Uint8Array, 3],
  ['uint4', Uint8Array, 15],
  ['uint8', Uint8Array, 255],
  ['uint16', Uint16Array, 65535],
] as const)('zero points of %s keep their value', (type, array, value) => {
  const points = zeroPoints(type, Int32Array.of(value));
  expect(points).toBeInstanceOf(array);
  expect([...points]).toEqual([value]);
});
