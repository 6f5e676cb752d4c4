import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { edit } from '../../src/graph/edit.ts';
import { fullPrecision } from '../../src/graph/full_precision.ts';
import { nanPaths } from '../../src/graph/nan_paths.ts';
import type { NodeProto } from '../../src/graph/proto.ts';
import { layerName } from '../../src/graph/query.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { floats, runModel } from '../helpers/context.ts';
import { noise, weight } from '../helpers/models.ts';

const node = (op: string, name: string, input: string): NodeProto =>
  makeNode(op, input.split(' '), [name], {}, { name });

const graph = (nodes: readonly NodeProto[]) =>
  makeModel({
    opset: 17,
    inputs: [makeValue('x', 'float32', ['N', 16])],
    outputs: [makeValue('y', 'float32')],
    nodes,
    initializers: ['w1', 'w2', 'w3']
      .map((name, i) => weight(name, [16, 16], i))
      .concat(weight('zero', [1], 9), makeTensor('half', 'float32', [], Float32Array.of(0.5))),
  });

describe('nanPaths', () => {
  it('finds the layer that decides where NaN will be, and the one that computes with it', () => {
    const model = graph([
      node('MatMul', 'before', 'x w1'),
      node('Relu', 'relu', 'before'),
      node('MatMul', 'deciding', 'relu w1'),
      node('Log', 'log', 'deciding'),
      node('MatMul', 'with_NaN', 'log w2'),
      node('IsNaN', 'asked', 'with_NaN'),
      node('Where', 'masked', 'asked zero with_NaN'),
      node('MatMul', 'y', 'masked w3'),
    ]);
    expect([...nanPaths(model).keys()].map(layerName).sort()).toEqual(['deciding', 'with_NaN']);
    expect(new Set(fullPrecision(model).keys())).toEqual(new Set(nanPaths(model).keys()));
  });

  it('says why, through what only moves numbers or adds to them, and of layers alone', () => {
    const model = graph([
      node('Gemm', 'deciding', 'x w1'),
      node('Add', 'added', 'deciding zero'),
      node('Log', 'log', 'added'),
      node('Neg', 'turned', 'log'),
      node('MatMul', 'with_NaN', 'turned w2'),
      node('Abs', 'size', 'with_NaN'),
      node('IsNaN', 'asked', 'size'),
      node('Where', 'masked', 'asked zero size'),
      // Nobody asks what becomes of this one.
      node('MatMul', 'beside', 'x w3'),
      node('Sqrt', 'root', 'beside'),
      node('Add', 'y', 'masked root'),
    ]);
    expect([...nanPaths(model)].map(([layer, text]) => [layerName(layer), text])).toEqual([
      ['with_NaN', 'it computes with what "log" gives, NaN too, which integers cannot hold'],
      ['deciding', 'its result decides where "log" gives NaN, which the model asks for'],
    ]);
  });

  it.each(['Log', 'Sqrt', 'Pow', 'Acos', 'Asin', 'Acosh', 'Atanh'])('knows that %s makes NaN', async (op) => {
    const model = graph([
      node('MatMul', 'deciding', 'x w1'),
      node(op, 'made', op === 'Pow' ? 'deciding half' : 'deciding'),
      node('IsNaN', 'asked', 'made'),
      node('Where', 'y', 'asked zero made'),
    ]);
    expect([...nanPaths(model).keys()].map(layerName)).toEqual(['deciding']);
    // Of numbers on either side of 0, and beyond 1.
    const x = floats(noise(3, 64, 9), [4, 16]);
    const seen = edit(model, (draft) => draft.setOutputs([makeValue('made', 'float32')]));
    const { made } = await runModel(seen, { x });
    expect(Array.from(made!.data as Float32Array, Number.isNaN)).toContain(true);
  });

  it('leaves models alone that do not ask, and attention whose masked rows are NaN', () => {
    const log = [node('MatMul', 'h', 'x w1'), node('Log', 'log', 'h'), node('MatMul', 'y', 'log w2')];
    expect(nanPaths(graph(log)).size).toBe(0);
    const attention = [
      node('MatMul', 'h', 'x w1'),
      node('Softmax', 's', 'h'),
      node('IsNaN', 'asked', 's'),
      node('Where', 'masked', 'asked zero s'),
      node('MatMul', 'y', 'masked w2'),
    ];
    expect(nanPaths(graph(attention)).size).toBe(0);
  });
});
