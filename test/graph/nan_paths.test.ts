import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { fullPrecision } from '../../src/graph/full_precision.ts';
import { nanPaths } from '../../src/graph/nan_paths.ts';
import type { NodeProto } from '../../src/graph/proto.ts';
import { layerName } from '../../src/graph/query.ts';
import { weight } from '../helpers/models.ts';

const node = (op: string, name: string, input: string): NodeProto =>
  makeNode(op, input.split(' '), [name], {}, { name });

const graph = (nodes: readonly NodeProto[]) =>
  makeModel({
    opset: 17,
    inputs: [makeValue('x', 'float32', ['N', 16])],
    outputs: [makeValue('y', 'float32')],
    nodes,
    initializers: ['w1', 'w2', 'w3'].map((name, i) => weight(name, [16, 16], i)).concat(weight('zero', [1], 9)),
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
