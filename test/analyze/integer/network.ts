import type { Feeds } from '../../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { noise } from '../../helpers/models.ts';

export const params = (name: string, scale: number, zero: number, type: 'uint8' | 'int8' = 'uint8') => [
  makeTensor(`${name}_s`, 'float32', [], Float32Array.of(scale)),
  makeTensor(`${name}_z`, type, [], (type === 'uint8' ? Uint8Array : Int8Array).of(zero)),
];
const q = (value: string, by: string) => makeNode('QuantizeLinear', [value, `${by}_s`, `${by}_z`], [`${value}_q`]);
const dq = (value: string, by: string) => makeNode('DequantizeLinear', [`${value}_q`, `${by}_s`, `${by}_z`], [`${value}_d`]); // prettier-ignore
export const qdq = (value: string, by: string) => [q(value, by), dq(value, by)];

/** Weights of int8 behind DequantizeLinear; `most` holds them to fewer bits. */
export const weights = (name: string, dims: readonly number[], seed: number, most: number) => {
  const count = dims.reduce((a, b) => a * b, 1);
  const codes = Int8Array.from(noise(seed, count, most), (w) => Math.max(-most, Math.min(most, Math.round(w))));
  return {
    nodes: [dq(name, name)],
    initializers: [makeTensor(`${name}_q`, 'int8', dims, codes), ...params(name, 0.01, 0, 'int8')],
  };
};

/** Conv+Relu, MaxPool, Conv+Clip, Sigmoid, Add, Concat, Softmax in float, Gemm to float: every kind of step. */
export function network(most = 63): Model {
  const [first, second, last] = [
    weights('w1', [8, 3, 3, 3], 1, most),
    weights('w2', [8, 8, 1, 1], 2, most),
    weights('w3', [16, 5], 3, most),
  ];
  return makeModel({
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('y', 'float32', ['N', 5])],
    nodes: [
      ...[...first.nodes, ...second.nodes, ...last.nodes, ...qdq('x', 'x')],
      makeNode('Conv', ['x_d', 'w1_d', 'b1'], ['c1'], { pads: [1, 1, 1, 1] }, { name: 'conv1' }),
      ...[makeNode('Relu', ['c1'], ['r1']), ...qdq('r1', 'r1')],
      ...[makeNode('MaxPool', ['r1_d'], ['m'], { kernel_shape: [2, 2], strides: [2, 2] }, { name: 'max' }), ...qdq('m', 'r1')],
      makeNode('Conv', ['m_d', 'w2_d'], ['c2'], {}, { name: 'conv2' }),
      ...[makeNode('Clip', ['c2', 'zero', 'six'], ['k']), ...qdq('k', 'k')],
      ...[makeNode('Sigmoid', ['m_d'], ['s'], {}, { name: 'sigmoid' }), ...qdq('s', 's')],
      ...[makeNode('Add', ['k_d', 's_d'], ['a'], {}, { name: 'add' }), ...qdq('a', 'a')],
      ...[makeNode('Concat', ['a_d', 's_d'], ['j'], { axis: 1 }, { name: 'join' }), ...qdq('j', 'a')],
      ...[makeNode('GlobalAveragePool', ['j_d'], ['p'], {}, { name: 'pool' }), ...qdq('p', 'p')],
      ...[makeNode('Flatten', ['p_d'], ['f'], {}, { name: 'flat' }), ...qdq('f', 'p')],
      ...[makeNode('Softmax', ['f_d'], ['o'], { axis: 1 }, { name: 'softmax' }), ...qdq('o', 'o')],
      makeNode('Gemm', ['o_d', 'w3_d', 'b3'], ['y'], {}, { name: 'fc' }),
    ],
    initializers: [
      ...[...first.initializers, ...second.initializers, ...last.initializers],
      ...[...params('x', 0.02, 130), ...params('r1', 0.015, 0), ...params('k', 6 / 255, 0), ...params('s', 1 / 255, 0)],
      ...[...params('a', 0.03, 0), ...params('p', 0.02, 0), ...params('o', 0.002, 0)],
      makeTensor('b1', 'float32', [8], noise(4, 8, 0.2)),
      makeTensor('b3', 'float32', [5], noise(5, 5, 0.2)),
      ...[makeTensor('zero', 'float32', [], Float32Array.of(0)), makeTensor('six', 'float32', [], Float32Array.of(6))],
    ],
  }); // prettier-ignore
}

export const feeds = (seed: number, count = 4): Feeds => ({
  x: { type: 'float32', dims: [count, 3, 8, 8], data: noise(seed, count * 192, 2) },
});
