import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { innerLayers, layers } from '../../src/graph/layer.ts';
import {
  AttributeCodec,
  GraphCodec,
  type GraphProto,
  type NodeProto,
  type TensorProto,
} from '../../src/graph/proto.ts';
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

/** A graph of these nodes that gives `y`, as a model and as the body of a control-flow node. */
const modelOf = (nodes: readonly NodeProto[], initializers: readonly TensorProto[] = []): Model =>
  makeModel({ inputs: [makeValue('x', 'float32')], outputs: [makeValue('y', 'float32')], initializers, nodes });
const bodyOf = (nodes: readonly NodeProto[], initializer: readonly TensorProto[] = [], output = 'z'): GraphProto =>
  GraphCodec.create({
    name: 'body',
    node: [...nodes],
    initializer: [...initializer],
    output: [makeValue(output, 'float32')],
  });
const control = (op: string, name: string, bodies: Record<string, GraphProto>): NodeProto => ({
  ...makeNode(op, ['c'], ['y'], {}, { name }),
  attribute: Object.entries(bodies).map(([key, g]) => AttributeCodec.create({ name: key, type: 5, g })),
});
const matMul = (name: string, a: string, b: string, out = 'z') => makeNode('MatMul', [a, b], [out], {}, { name });

describe('layers', () => {
  it('are one for each stored weight, with the bias where it is stored too', () => {
    const model = modelOf(
      [
        makeNode('Conv', ['x', 'w3', 'b'], ['c'], {}, { name: 'conv' }),
        makeNode('Gemm', ['c', 'w', 'x'], ['g'], {}, { name: 'computed bias' }),
        makeNode('MatMul', ['g', 'w', 'b'], ['m'], {}, { name: 'no bias' }),
        makeNode('GRU', ['m', 'w3', 'r'], ['y'], {}, { name: 'gru' }),
        makeNode('Relu', ['w'], ['unused'], {}, { name: 'relu' }),
      ],
      [counted('w', [4, 4]), counted('w3', [1, 12, 4]), counted('r', [1, 12, 4]), counted('b', [4])],
    );
    expect(
      layers(model).layers.map(({ name, input, weight, bias }) => [name, input, weight.tensor.name, bias?.name]),
    ).toEqual([
      ['conv', 1, 'w3', 'b'],
      ['computed bias', 1, 'w', undefined],
      ['no bias', 1, 'w', undefined],
      ['gru', 1, 'w3', undefined],
      ['gru', 2, 'r', undefined],
    ]);
    expect(layers(model).unweighted).toEqual([]);
  });

  it('are not what multiplies computed values, or a vector: in words', () => {
    const model = modelOf(
      [
        matMul('product', 'x', 'x', 'a'),
        matMul('by vector', 'a', 'v', 'b'),
        makeNode('Attention', ['b', 'b', 'b'], ['c'], {}, { name: 'attention' }),
        makeNode('Gather', ['c', 'x'], ['y'], {}, { name: 'looks up what is computed' }),
      ],
      [counted('v', [4])],
    );
    const { layers: found, unweighted } = layers(model);
    expect(found).toEqual([]);
    expect(unweighted.map(({ node, text }) => [node.name, text])).toEqual([
      ['product', 'has no constant weights (x is computed)'],
      ['by vector', 'its weight v is a vector'],
      ['attention', 'multiplies computed values only'],
    ]);
  });

  it('give no matrix where the operator gives the axes no order', () => {
    const layer = layerOf(makeNode('Einsum', ['x', 'w'], ['y'], { equation: 'ab,bc->ac' }), [2, 2]);
    expect(layer?.weight.axes).toBeUndefined();
    expect(() => layer?.weight.view()).toThrow('axes of w have no order in Einsum');
  });
});

describe('readers of a weight', () => {
  it('are bodies that capture it too, however deep, once for each use', () => {
    const inner = control('If', 'inner', { then_branch: bodyOf([matMul('m', 'w', 'x')]) });
    const outer = control('Loop', 'outer', { body: bodyOf([{ ...inner, output: ['z'] }, matMul('n', 'x', 'w', 'q')]) });
    // A body may give the tensor itself.
    const given = control('If', 'given', { else_branch: bodyOf([], [], 'w') });
    const model = modelOf([matMul('plain', 'x', 'w', 'a'), outer, given], [counted('w', [2, 2])]);
    expect(layers(model).layers[0]?.readers.map(({ node, input, axes }) => [node.name, input, axes?.out])).toEqual([
      ['plain', 1, [1]],
      ['outer', -1, undefined],
      ['outer', -1, undefined],
      ['given', -1, undefined],
    ]);
  });

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

  it('names layers inside bodies whose weights are constants of the model, of the body or of a Constant node', () => {
    const branch = bodyOf(
      [
        makeNode('Constant', [], ['k'], { value_float: { float: 1 } }),
        makeNode('Identity', ['x'], ['i'], {}, { name: 'identity' }),
        matMul('of the model', 'x', 'w'),
        matMul('of the body', 'x', 'own'),
        matMul('of a node', 'x', 'k'),
        matMul('computed', 'x', 'i'),
        makeNode('Add', ['x', 'w'], ['s'], {}, { name: 'no layer' }),
      ],
      [counted('own', [2, 2])],
    );
    const deep = bodyOf([{ ...control('Loop', 'loop', { body: bodyOf([matMul('deep', 'x', 'w')]) }), output: ['z'] }]);
    const model = modelOf(
      [
        makeNode('Constant', [], ['top'], { value_float: { float: 1 } }),
        matMul('outside', 'x', 'w', 'a'),
        control('If', 'gate', { then_branch: branch, else_branch: deep }),
        control('Scan', 'scan', {
          body: bodyOf([matMul('captured', 'x', 'top'), matMul('of another body', 'x', 'own')]),
        }),
      ],
      [counted('w', [2, 2])],
    );
    expect(innerLayers(model)).toEqual([
      { path: 'If "gate" then_branch / of the model', op: 'MatMul' },
      { path: 'If "gate" then_branch / of the body', op: 'MatMul' },
      { path: 'If "gate" then_branch / of a node', op: 'MatMul' },
      { path: 'If "gate" else_branch / Loop "loop" body / deep', op: 'MatMul' },
      { path: 'Scan "scan" body / captured', op: 'MatMul' },
    ]);
  });

  it('follows functions that call others with what they are given, and ends where one breaks the rule and calls itself', () => {
    const call = (name: string, op: string, a: string, b: string) =>
      makeNode(op, [a, b], ['y'], {}, { name, domain: 'own' });
    const define = (name: string, node: NodeProto[]) => ({
      name,
      domain: 'own',
      input: ['a', 'b'],
      output: ['y'],
      node,
    });
    const functions = [
      define('Outer', [call('inside', 'Inner', 'b', 'a')]),
      define('Inner', [makeNode('Constant', [], ['k']), matMul('m', 'a', 'b', 'p'), matMul('n', 'p', 'k', 'y')]),
      define('Again', [control('If', 'if', { then_branch: bodyOf([call('again', 'Again', 'a', 'b')]) })]),
    ];
    const found = (node: NodeProto) => {
      const plain = modelOf([node], [counted('w', [2, 2])]);
      return innerLayers({ ...plain, proto: { ...plain.proto, functions: functions as never } }).map(
        ({ path }) => path,
      );
    };
    expect(found(call('top', 'Outer', 'x', 'w'))).toEqual([
      'Outer "top" / Inner "inside" / m',
      'Outer "top" / Inner "inside" / n',
    ]);
    expect(found(call('top', 'Outer', 'x', 'x'))).toEqual(['Outer "top" / Inner "inside" / n']);
    expect(found(call('top', 'Again', 'x', 'w'))).toEqual([]);
  });
});
