import { settled } from '../../../src/analyze/integer/arrays.ts';
import { openDevice, openMachine, runDevices } from '../../../src/analyze/integer/execute.ts';
import { openPool } from '../../../src/analyze/integer/pool.ts';
import type { IntegerPlan } from '../../../src/analyze/integer/steps.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { requantizations } from '../../../src/numerics/requantize/index.ts';
import { openComputer } from '../../../src/runtime/compute.ts';
import { runModel } from '../../helpers/context.ts';
import { random } from '../../helpers/models.ts';

const computer = openComputer(500);
afterAll(() => computer.close());

/** Runs a model on the device of a scheme; what it planned too. */
async function execute(model: Model, feeds: Feeds, scheme = 'onnxruntime') {
  const machine = await openMachine(model, computer);
  const found = requantizations().find(({ name }) => name === scheme)!;
  const [outputs = {}] = await runDevices(machine, [openDevice(machine, { scheme: found })], feeds);
  return { outputs, plan: machine.plan };
}

const kinds = (plan: IntegerPlan): string[] => plan.steps.map(({ kind }) => kind);

type Ints = 'uint8' | 'int8';
/** Random integers of a type; `most` holds them to fewer bits. */
function ints(type: Ints | 'int32', dims: readonly number[], seed: number, most = 128) {
  const next = random(seed);
  const count = dims.reduce((a, b) => a * b, 1);
  const values = Array.from({ length: count }, () => Math.floor(next() * 2 * most) - (type === 'uint8' ? 0 : most));
  return type === 'uint8'
    ? Uint8Array.from(values)
    : type === 'int8'
      ? Int8Array.from(values)
      : Int32Array.from(values);
}

const scale = (name: string, ...values: number[]) =>
  makeTensor(name, 'float32', values.length > 1 ? [values.length] : [], Float32Array.from(values));
const zero = (name: string, type: Ints, ...values: number[]) =>
  makeTensor(name, type, values.length > 1 ? [values.length] : [], (type === 'uint8' ? Uint8Array : Int8Array).from(values)); // prettier-ignore

interface ConvCase {
  readonly x: readonly number[];
  readonly w: readonly number[];
  readonly attributes?: Record<string, number | string | readonly number[]>;
  readonly weights?: Ints;
  readonly most?: number;
  readonly scales?: readonly number[];
  readonly zeros?: readonly number[];
  readonly bias?: boolean;
  readonly data?: Ints;
}

function convModel({
  x,
  w,
  attributes = {},
  weights = 'uint8',
  most = 128,
  scales = [0.01],
  zeros = [0],
  bias = true,
  data = 'uint8',
}: ConvCase) {
  const channels = w[0]!;
  return makeModel({
    inputs: [makeValue('x', data, x)],
    outputs: [makeValue('y', data)],
    nodes: [makeNode('QLinearConv', ['x', 'xs', 'xz', 'w', 'ws', 'wz', 'ys', 'yz', ...(bias ? ['b'] : [])], ['y'], attributes)],
    initializers: [
      ...[scale('xs', 0.023), zero('xz', data, data === 'uint8' ? 97 : -20), makeTensor('w', weights, w, ints(weights, w, 3, most))],
      ...[scale('ws', ...scales), zero('wz', weights, ...zeros), scale('ys', 0.31), zero('yz', data, data === 'uint8' ? 120 : 3)],
      ...(bias ? [makeTensor('b', 'int32', [channels], ints('int32', [channels], 5, 20000))] : []),
    ],
  }); // prettier-ignore
}

/** uint8 weights, and int8 weights of 7 bits, which no processor saturates. */
const convolutions: [string, ConvCase][] = [
  ['plain', { x: [2, 3, 7, 7], w: [4, 3, 3, 3], zeros: [128] }],
  ['padded with the zero point', { x: [1, 3, 6, 6], w: [4, 3, 3, 3], attributes: { pads: [1, 2, 0, 1] } }],
  ['strides and dilations', { x: [1, 2, 11, 9], w: [3, 2, 3, 2], attributes: { strides: [2, 1], dilations: [2, 3], pads: [1, 1, 1, 1] } }],
  ['groups', { x: [1, 6, 5, 5], w: [4, 3, 3, 3], attributes: { group: 2, pads: [1, 1, 1, 1] } }],
  ['depthwise', { x: [1, 8, 6, 6], w: [8, 1, 3, 3], attributes: { group: 8, pads: [1, 1, 1, 1] } }],
  ['SAME_UPPER', { x: [1, 2, 7, 7], w: [3, 2, 3, 3], attributes: { auto_pad: 'SAME_UPPER', strides: [2, 2] } }],
  ['one-dimensional', { x: [2, 3, 20], w: [5, 3, 4], attributes: { pads: [2, 1] } }],
  ['uint8 weights with a zero point', { x: [1, 3, 6, 6], w: [4, 3, 3, 3], zeros: [131], attributes: { pads: [1, 1, 1, 1] } }],
  ['a scale a channel', { x: [1, 3, 6, 6], w: [3, 3, 3, 3], weights: 'int8', most: 64, scales: [0.01, 0.002, 0.03], zeros: [0, 0, 0] }],
  ['without bias', { x: [1, 3, 6, 6], w: [4, 3, 3, 3], bias: false, weights: 'int8', most: 64 }],
  ['int8 data', { x: [1, 3, 6, 6], w: [4, 3, 3, 3], data: 'int8', weights: 'int8', most: 63, attributes: { pads: [1, 1, 1, 1] } }],
  ['sums that may pass 2^24', { x: [1, 64, 8, 8], w: [2, 64, 4, 4], zeros: [0], scales: [0.0002] }],
]; // prettier-ignore

describe('the device of onnxruntime', () => {
  it.each(convolutions)('is QLinearConv bit for bit: %s', async (_, one) => {
    const model = convModel(one);
    const feeds = { x: { type: one.data ?? 'uint8', dims: one.x, data: ints(one.data ?? 'uint8', one.x, 11) } };
    const { outputs, plan } = await execute(model, feeds);
    expect(kinds(plan)).toEqual(['product']);
    for (const level of ['disabled', 'all'] as const) expect(outputs).toEqual(await runModel(model, feeds, level));
    // Not all at the ends of the codes, where anything agrees.
    expect(new Set(outputs.y!.data as Uint8Array).size).toBeGreaterThan(8);
  });

  it.each([
    ['two matrices', [5, 12], [12, 7], [0.01], [128]],
    ['stacks', [2, 3, 5, 12], [12, 7], [0.01], [100]],
    ['a scale a column', [5, 12], [12, 3], [0.01, 0.02, 0.004], [128, 128, 128]],
    ['2,048 terms, whose sums may pass 2^24', [3, 2048], [2048, 3], [0.0002], [0]],
  ])('is QLinearMatMul bit for bit: %s', async (_, a, b, scales, zeros) => {
    const model = makeModel({
      inputs: [makeValue('a', 'uint8', a)],
      outputs: [makeValue('y', 'uint8')],
      nodes: [makeNode('QLinearMatMul', ['a', 'as', 'az', 'b', 'bs', 'bz', 'ys', 'yz'], ['y'])],
      initializers: [
        ...[scale('as', 0.05), zero('az', 'uint8', 130), makeTensor('b', 'uint8', b, ints('uint8', b, 4))],
        ...[scale('bs', ...scales), zero('bz', 'uint8', ...zeros), scale('ys', 0.4), zero('yz', 'uint8', 99)],
      ],
    });
    const feeds = { a: { type: 'uint8' as const, dims: a, data: ints('uint8', a, 8) } };
    const { outputs } = await execute(model, feeds);
    expect(outputs).toEqual(await runModel(model, feeds, 'disabled'));
    expect(new Set(outputs.y!.data as Uint8Array).size).toBeGreaterThan(4);
  });

  it('multiplies two computed matrices', async () => {
    const model = makeModel({
      inputs: [makeValue('a', 'uint8', [4, 9]), makeValue('b', 'uint8', [9, 5])],
      outputs: [makeValue('y', 'uint8')],
      nodes: [makeNode('QLinearMatMul', ['a', 'as', 'az', 'b', 'bs', 'bz', 'ys', 'yz'], ['y'])],
      initializers: [scale('as', 0.05), zero('az', 'uint8', 130), scale('bs', 0.02), zero('bz', 'uint8', 120), scale('ys', 0.2), zero('yz', 'uint8', 99)],
    }); // prettier-ignore
    const feeds = { a: { type: 'uint8' as const, dims: [4, 9], data: ints('uint8', [4, 9], 8) }, b: { type: 'uint8' as const, dims: [9, 5], data: ints('uint8', [9, 5], 9) } }; // prettier-ignore
    expect((await execute(model, feeds)).outputs).toEqual(await runModel(model, feeds, 'disabled'));
  });

  it.each([
    ['with an output scale', ['ys', 'yz']],
    ['to float', []],
  ])('is QGemm bit for bit: %s', async (_, last) => {
    const model = makeModel({
      inputs: [makeValue('a', 'uint8', [5, 12])],
      outputs: [makeValue('y', last.length > 0 ? 'uint8' : 'float32')],
      nodes: [makeNode('QGemm', ['a', 'as', 'az', 'b', 'bs', 'bz', 'c', ...last], ['y'], { transB: 1 }, { domain: 'com.microsoft' })],
      initializers: [
        ...[scale('as', 0.05), zero('az', 'uint8', 130), makeTensor('b', 'uint8', [3, 12], ints('uint8', [3, 12], 4))],
        ...[scale('bs', 0.01), zero('bz', 'uint8', 128), makeTensor('c', 'int32', [3], ints('int32', [3], 6, 3000))],
        ...(last.length > 0 ? [scale('ys', 0.4), zero('yz', 'uint8', 99)] : []),
      ],
      domains: { 'com.microsoft': 1 },
    }); // prettier-ignore
    const feeds = { a: { type: 'uint8' as const, dims: [5, 12], data: ints('uint8', [5, 12], 8) } };
    expect((await execute(model, feeds)).outputs).toEqual(await runModel(model, feeds, 'disabled'));
  });
});

/** A model of one operator of com.microsoft on quantized inputs of these shapes. */
function carrier(
  op: string,
  shapes: readonly (readonly number[])[],
  attributes: Record<string, number | { float: number } | readonly number[]> = {},
) {
  const params = shapes.flatMap((_, i) => [scale(`s${i}`, 0.02 + 0.013 * i), zero(`z${i}`, 'uint8', 100 + 21 * i)]);
  const terms = shapes.flatMap((_, i) => [`x${i}`, `s${i}`, `z${i}`]);
  const inputs = op === 'QLinearConcat' ? ['s', 'z', ...terms] : [...terms, 's', 'z'];
  return makeModel({
    inputs: shapes.map((dims, i) => makeValue(`x${i}`, 'uint8', dims)),
    outputs: [makeValue('y', 'uint8')],
    nodes: [makeNode(op, inputs, ['y'], attributes, { domain: 'com.microsoft' })],
    initializers: [...params, scale('s', 0.041), zero('z', 'uint8', 88)],
    domains: { 'com.microsoft': 1 },
  }); // prettier-ignore
}

describe('carriers', () => {
  const feedsOf = (shapes: readonly (readonly number[])[]): Feeds =>
    Object.fromEntries(shapes.map((dims, i) => [`x${i}`, { type: 'uint8' as const, dims, data: Uint8Array.from(ints('uint8', dims, 20 + i), (v, j) => (v + 37 * j) & 255) }])); // prettier-ignore
  const differences = (a: Feeds, b: Feeds): number[] =>
    Array.from(a.y!.data as Uint8Array, (v, i) => Math.abs(v - (b.y!.data as Uint8Array)[i]!));

  it.each<[string, number[][], Parameters<typeof carrier>[2]]>([
    ['QLinearAdd', [[2, 3, 8, 8], [2, 3, 8, 8]], {}],
    ['QLinearAdd', [[2, 3, 8, 8], [3, 1, 1]], {}],
    ['QLinearMul', [[2, 3, 8, 8], [2, 3, 8, 8]], {}],
    ['QLinearSigmoid', [[4, 64]], {}],
    ['QLinearLeakyRelu', [[4, 64]], { alpha: { float: 0.1 } }],
    ['QLinearGlobalAveragePool', [[2, 5, 7, 7]], {}],
    ['QLinearAveragePool', [[2, 5, 8, 8]], { kernel_shape: [3, 2], strides: [2, 2] }],
    ['QLinearAveragePool', [[1, 3, 7, 7]], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }],
    ['QLinearAveragePool', [[1, 3, 7, 7]], { kernel_shape: [3, 3], pads: [1, 1, 1, 1], count_include_pad: 1 }],
    ['QLinearConcat', [[2, 3, 4], [2, 5, 4]], { axis: 1 }],
  ])('%s of %j is onnxruntime’s within one step, and nearly everywhere the same', async (op, shapes, attributes) => {
    const model = carrier(op, shapes, attributes);
    const feeds = feedsOf(shapes);
    const { outputs, plan } = await execute(model, feeds);
    expect(plan.float).toEqual([]);
    const apart = differences(outputs, await runModel(model, feeds, 'disabled'));
    // onnxruntime's kernels for these multiply in float32 in an order of their own, on each kind of processor another: halves may part.
    expect(Math.max(...apart)).toBeLessThanOrEqual(1);
    expect(apart.filter((d) => d > 0).length / apart.length).toBeLessThan(0.02);
  }); // prettier-ignore

  it.each(['Add', 'Mul'])('%s of 16-bit codes is the real one in every scheme that has it', async (op) => {
    const codes = (name: string, zero: number) => [scale(`${name}s`, 0.00013), makeTensor(`${name}z`, 'uint16', [], Uint16Array.of(zero))];
    const model = makeModel({
      opset: 21,
      inputs: [makeValue('a', 'uint16', [4]), makeValue('b', 'uint16', [4])],
      outputs: [makeValue('y', 'uint16')],
      nodes: [
        makeNode('DequantizeLinear', ['a', 'as', 'az'], ['ad']),
        makeNode('DequantizeLinear', ['b', 'bs', 'bz'], ['bd']),
        makeNode(op, ['ad', 'bd'], ['c']),
        makeNode('QuantizeLinear', ['c', 'cs', 'cz'], ['y']),
      ],
      initializers: [...codes('a', 0), ...codes('b', 20000), scale('cs', 0.0013), makeTensor('cz', 'uint16', [], Uint16Array.of(30000))],
    });
    const feeds = {
      a: { type: 'uint16' as const, dims: [4], data: Uint16Array.of(0, 65535, 65535, 40000) },
      b: { type: 'uint16' as const, dims: [4], data: Uint16Array.of(0, 65535, 0, 50000) },
    };
    const wanted = Array.from((await runModel(model, feeds, 'disabled')).y!.data as Uint16Array);
    for (const name of ['onnxruntime', 'gemmlowp', 'cmsis-single', 'shift-16']) {
      const machine = await openMachine(model, computer);
      const found = requantizations(16).find((one) => one.name === name)!;
      const [{ y } = {}] = await runDevices(machine, [openDevice(machine, { scheme: found })], feeds);
      expect(machine.plan.float.map(({ why }) => why)).toEqual(op === 'Add' ? [] : ['a product of its 16-bit codes may not fit in 32 bits']);
      // 16-bit multipliers are exact to a code of 65,536.
      for (const [i, code] of Array.from(y!.data as Uint16Array).entries()) expect(Math.abs(code - wanted[i]!)).toBeLessThanOrEqual(1);
    }
  }); // prettier-ignore

  it('are the same in every scheme to one step', async () => {
    const model = carrier('QLinearAdd', [[1, 256, 256], [1, 256, 1]], {}); // prettier-ignore
    const feeds = feedsOf([[1, 256, 256], [1, 256, 1]]); // prettier-ignore
    const { outputs } = await execute(model, feeds);
    for (const { name } of requantizations(16).filter((scheme) => !scheme.name.startsWith('shift'))) {
      const apart = differences((await execute(model, feeds, name)).outputs, outputs);
      expect([name, apart.some((d) => d > 1)]).toEqual([name, false]);
    }
  });
});

describe('products of any width', () => {
  /** QuantizeLinear and DequantizeLinear around a MatMul of data and weights of these types, and its sums by BigInt. */
  function matmul(data: 'uint8' | 'int8' | 'uint16' | 'int16', weights: 'uint8' | 'int16', zeros: readonly number[]) {
    const ends = { uint8: [0, 255], int8: [-128, 127], uint16: [0, 65535], int16: [-32768, 32767] } as const;
    const array = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array };
    const next = random(9);
    const codes = (type: keyof typeof ends, count: number) => {
      const value = (i: number): number => ends[type][i % 5 === 0 ? 1 : 0] + (i % 5 < 2 ? 0 : Math.floor(next() * 255));
      return new array[type](Array.from({ length: count }, (_, i) => value(i)));
    };
    const [rows, terms, columns] = [3, 40, 2];
    const [x, w] = [codes(data, rows * terms), codes(weights, terms * columns)];
    const xZero = data === 'uint16' ? 40000 : data === 'int16' ? -7 : 100;
    const sums = Array.from({ length: rows * columns }, (_, at) => {
      const [row, column] = [Math.floor(at / columns), at % columns];
      let sum = 0n;
      for (let k = 0; k < terms; k++)
        sum += BigInt(x[row * terms + k]! - xZero) * BigInt(w[k * columns + column]! - zeros[column]!);
      return Number(BigInt.asIntN(32, sum));
    });
    const model = makeModel({
      inputs: [makeValue('x', data, [rows, terms])],
      outputs: [makeValue('y', 'float32')],
      nodes: [
        makeNode('DequantizeLinear', ['x', 'xs', 'xz'], ['xd']),
        makeNode('DequantizeLinear', ['w', 'ws', 'wz'], ['wd'], { axis: 1 }),
        makeNode('MatMul', ['xd', 'wd'], ['y'], {}, { name: 'mm' }),
      ],
      initializers: [
        ...[scale('xs', 1), makeTensor('xz', data, [], array[data].of(xZero))],
        ...[makeTensor('w', weights, [terms, columns], w), scale('ws', 1, 1)],
        makeTensor('wz', weights, [columns], array[weights].from(zeros)),
      ],
    });
    return { model, feeds: { x: { type: data, dims: [rows, terms], data: x } }, sums };
  }

  it.each([
    ['uint8', 'uint8', [0, 255]],
    ['int8', 'uint8', [3, 250]],
    ['uint16', 'uint8', [0, 255]],
    ['int16', 'uint8', [128, 0]],
    ['uint8', 'int16', [0, 0]],
    ['int16', 'int16', [0, 0]],
  ] as const)('are summed in int32, which wraps: %s · %s, zero points %j', async (data, weights, zeros) => {
    const { model, feeds, sums } = matmul(data, weights, zeros);
    const { outputs, plan } = await execute(model, feeds);
    expect(kinds(plan)).toEqual(['product']);
    expect(Array.from(outputs.y!.data as Float32Array)).toEqual(sums.map(Math.fround));
  });
});

describe('codes', () => {
  const target = (type: 'uint8' | 'int16', low: number, high: number) => ({ value: 'y', code: { scale: 1, zeroPoint: 3, type }, low, high }); // prettier-ignore
  it.each([
    ['uint8', 0, 255],
    ['uint8', 3, 200],
    ['int16', -32768, 32767],
  ] as const)('of %s are cut to %i … %i, numbers of all sizes alike', (type, low, high) => {
    const edge = [0, 1, -1, low - 3, low - 4, high - 3, high - 2, 2 ** 30 - 1, -(2 ** 30), 2 ** 30, 2 ** 31 - 1, -(2 ** 31)]; // prettier-ignore
    const small = edge.filter((value) => Math.abs(value) < 2 ** 29);
    for (const [values, length] of [[small, 20000], [edge, 20001]] as const) {
      const pool = openPool();
      const make = (start: number, end: number, into: Int32Array): void => {
        for (let i = start; i < end; i++) into[i - start] = values[i % values.length]!;
      };
      const wanted = Array.from({ length }, (_, i) => Math.min(high, Math.max(low, values[i % values.length]! + 3)));
      expect([...settled(pool, target(type, low, high), [length, 7], make)]).toEqual(wanted);
      // Arrays that are used again still hold what was in them.
      pool.give(new Uint8Array(length).fill(99));
      expect([...settled(pool, target(type, low, high), [length, 7], make)]).toEqual(wanted);
    }
  }); // prettier-ignore
});
