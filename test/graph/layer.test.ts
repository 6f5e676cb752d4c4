import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { innerLayers, layers } from '../../src/graph/layer.ts';
import { macsOf } from '../../src/graph/macs.ts';
import { opOf, productOf } from '../../src/graph/ops.ts';
import type { NodeProto } from '../../src/graph/proto.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { runModel, floats } from '../helpers/context.ts';

/** Elements that tell their place: 0, 1, 2 … */
const counted = (name: string, dims: readonly number[]) =>
  makeTensor(
    name,
    'float32',
    dims,
    Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => i),
  );

const layerOf = (node: NodeProto, dims: readonly number[], name = 'w') =>
  layers(
    makeModel({
      inputs: [makeValue('x', 'float32')],
      outputs: [makeValue('y', 'float32')],
      initializers: [counted(name, dims)],
      nodes: [node],
    }),
  ).layers[0];

describe('a weight as the matrix [outputs, K]', () => {
  it.each([
    ['Conv', {}, [2, 1, 1, 2], [0, 1, 2, 3], 2],
    ['Gemm', { transB: 1 }, [2, 3], [0, 1, 2, 3, 4, 5], 2],
    ['Gemm', {}, [2, 3], [0, 3, 1, 4, 2, 5], 3],
    ['MatMul', {}, [2, 3], [0, 3, 1, 4, 2, 5], 3],
    // Two matrices [2, 2]: their outputs one after another.
    ['MatMul', {}, [2, 2, 2], [0, 2, 1, 3, 4, 6, 5, 7], 4],
    // W [C, M/group, kernel]: two inputs, three outputs.
    ['ConvTranspose', {}, [2, 3, 1], [0, 3, 1, 4, 2, 5], 3],
    // Two groups of two inputs and one output each, kernel of two.
    ['ConvTranspose', { group: 2 }, [4, 1, 2], [0, 1, 2, 3, 4, 5, 6, 7], 2],
  ] as const)('of %s %j %j', (op, attributes, dims, expected, outputs) => {
    const layer = layerOf(makeNode(op, ['x', 'w'], ['y'], attributes), dims);
    expect(layer?.weight.view().rows).toBe(outputs);
    const rows = layer?.weight.rows() as Float32Array;
    expect([...rows]).toEqual(expected);
    // There and back is where it came from.
    expect([...(layer?.weight.fromRows(rows) ?? [])]).toEqual([...rows].sort((a, b) => a - b));
  });

  it('is what onnxruntime multiplies with, in groups of a ConvTranspose too', async () => {
    // One position in, so that each output is a row times the inputs of its group.
    const node = makeNode('ConvTranspose', ['x', 'w'], ['y'], { group: 2, kernel_shape: [1] });
    const model = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', [1, 4, 1])],
      outputs: [makeValue('y', 'float32')],
      initializers: [counted('w', [4, 3, 1])],
      nodes: [node],
    });
    const x = Float32Array.of(1, 10, 100, 1000);
    const y = (await runModel(model, { x: floats(x, [1, 4, 1]) }))['y']?.data as Float32Array;
    const { rows, columns } = layers(model).layers[0]!.weight.view();
    const w = layers(model).layers[0]!.weight.rows();
    const own = Array.from({ length: rows }, (_, r) => {
      const group = Math.floor(r / (rows / 2));
      return Array.from({ length: columns }, (_unused, c) => w[r * columns + c]! * x[group * columns + c]!).reduce(
        (a, b) => a + b,
      );
    });
    expect(own).toEqual([...y]);
  });
});

describe('the table of operators', () => {
  it('says which operand of a product is turned', () => {
    const fused = (attributes: Record<string, number>) =>
      makeNode('FusedMatMul', ['x', 'w'], ['y'], attributes, { domain: 'com.microsoft' });
    expect(productOf(fused({}))?.axes(fused({}), 1, 3)).toMatchObject({ out: [0, 2], in: [1] });
    expect(productOf(fused({ transB: 1 }))?.axes(fused({ transB: 1 }), 1, 3)).toMatchObject({ out: [0, 1], in: [2] });
  });

  it('counts multiply-accumulates as the specification multiplies', () => {
    const shapes = (dims: Record<string, number[]>) =>
      new Map(Object.entries(dims).map(([name, d]) => [name, { type: 'float32' as const, dims: d }]));
    const conv = makeNode('Conv', ['x', 'w'], ['y']);
    expect(macsOf(conv, shapes({ x: [1, 3, 8, 8], w: [4, 3, 3, 3], y: [1, 4, 6, 6] }))).toBe(4 * 36 * 27);
    const up = makeNode('ConvTranspose', ['x', 'w'], ['y']);
    expect(macsOf(up, shapes({ x: [1, 3, 8, 8], w: [3, 4, 2, 2], y: [1, 4, 16, 16] }))).toBe(3 * 64 * 16);
    const gemm = makeNode('Gemm', ['x', 'w'], ['y'], { transA: 1 });
    expect(macsOf(gemm, shapes({ x: [5, 2], w: [5, 7], y: [2, 7] }))).toBe(2 * 7 * 5);
    const lstm = makeNode('LSTM', ['x', 'w', 'r'], ['y']);
    expect(macsOf(lstm, shapes({ x: [6, 2, 3], w: [1, 16, 3], r: [1, 16, 4], y: [6, 1, 2, 4] }))).toBe(12 * (48 + 64));
    const einsum = makeNode('Einsum', ['x', 'w'], ['y'], { equation: 'btd,de->bte' });
    expect(macsOf(einsum, shapes({ x: [2, 3, 4], w: [4, 5], y: [2, 3, 5] }))).toBe(2 * 3 * 4 * 5);
    expect(macsOf(conv, shapes({}))).toMatch(/shapes were not seen/);
    expect(macsOf(makeNode('Relu', ['x'], ['y']), shapes({}))).toMatch(/Relu is not counted/);
  });

  it('knows nothing of operators of other domains', () => {
    expect(opOf(makeNode('Conv', ['x', 'w'], ['y'], {}, { domain: 'own' }))).toBeUndefined();
  });
});

describe('readers of a weight', () => {
  it('are all of them, each with what it sees in it', () => {
    const model = makeModel({
      inputs: [makeValue('x', 'float32')],
      outputs: [makeValue('y', 'float32')],
      initializers: [counted('w', [4, 4])],
      nodes: [
        makeNode('Gemm', ['x', 'w'], ['a'], {}, { name: 'plain' }),
        makeNode('Gemm', ['a', 'w'], ['b'], { transB: 1 }, { name: 'turned' }),
        makeNode('Add', ['b', 'w'], ['y'], {}, { name: 'added' }),
      ],
    });
    const [first] = layers(model).layers;
    expect(first?.readers.map(({ node, input, axes }) => [node.name, input, axes?.out])).toEqual([
      ['plain', 1, [1]],
      ['turned', 1, [0]],
      ['added', 1, undefined],
    ]);
  });
});

describe('innerLayers', () => {
  it('names layers inside local functions by the way to them', () => {
    const plain = makeModel({
      inputs: [makeValue('x', 'float32')],
      outputs: [makeValue('y', 'float32')],
      initializers: [counted('w', [4, 4])],
      nodes: [makeNode('Dense', ['x', 'w'], ['y'], {}, { name: 'call', domain: 'own' })],
    });
    const body = {
      name: 'Dense',
      domain: 'own',
      input: ['a', 'b'],
      output: ['c'],
      node: [makeNode('MatMul', ['a', 'b'], ['c'], {}, { name: 'inner' })],
    };
    const model = { ...plain, proto: { ...plain.proto, functions: [body as never] } };
    expect(innerLayers(model)).toEqual([{ path: 'Dense "call" / inner', op: 'MatMul' }]);
  });
});
