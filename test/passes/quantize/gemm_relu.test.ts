import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { NodeProto } from '../../../src/graph/proto.ts';
import { beforeRelu } from '../../../src/passes/quantize/gemm_relu.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';
import { optimizedOps } from '../../helpers/quality.ts';

const relu = (from: string, to: string): NodeProto => makeNode('Relu', [from], [to]);
const product = (op: string, from: string, to: string, bias = ''): NodeProto =>
  makeNode(op, [from, 'w', ...(bias === '' ? [] : [bias])], [to], {}, { name: 'product' });

// Asked of onnxruntime: whether the weight between x and y, held in 4 bits, is dequantized at every run.
it.each<[string, readonly number[], readonly NodeProto[], readonly string[]]>([
  ['Gemm, Relu', [3, 32], [product('Gemm', 'x', 'g', 'b'), relu('g', 'r')], []],
  ['Gemm, Relu, and another reader', [3, 32], [product('Gemm', 'x', 'g', 'b'), relu('g', 'r'), makeNode('Neg', ['g'], ['z'])], ['z']], // prettier-ignore
  ['Gemm, Tanh', [3, 32], [product('Gemm', 'x', 'g', 'b'), makeNode('Tanh', ['g'], ['r'])], []],
  ['Gemm alone', [3, 32], [product('Gemm', 'x', 'r', 'b')], []],
  ['MatMul, Add, Relu', [3, 32], [product('MatMul', 'x', 'm'), makeNode('Add', ['m', 'b'], ['a']), relu('a', 'r')], []],
  ['MatMul, Add, Relu of three axes', [2, 3, 32], [product('MatMul', 'x', 'm'), makeNode('Add', ['m', 'b'], ['a']), relu('a', 'r')], []], // prettier-ignore
  ['MatMul, Add, and two readers', [3, 32], [product('MatMul', 'x', 'm'), makeNode('Add', ['m', 'b'], ['a']), relu('a', 'r'), makeNode('Neg', ['a'], ['z'])], ['z']], // prettier-ignore
  ['MatMul, Relu', [3, 32], [product('MatMul', 'x', 'm'), relu('m', 'r')], []],
  ['MatMul, Relu of three axes', [2, 3, 32], [product('MatMul', 'x', 'm'), relu('m', 'r')], []],
  ['MatMul, LeakyRelu', [3, 32], [product('MatMul', 'x', 'm'), makeNode('LeakyRelu', ['m'], ['r'])], []],
  ['Gemm, LeakyRelu', [3, 32], [product('Gemm', 'x', 'm', 'b'), makeNode('LeakyRelu', ['m'], ['r'])], []],
  ['Gemm, Sigmoid', [3, 32], [product('Gemm', 'x', 'm', 'b'), makeNode('Sigmoid', ['m'], ['r'])], []],
  ['MatMul, Add, Tanh', [3, 32], [product('MatMul', 'x', 'm'), makeNode('Add', ['m', 'b'], ['a']), makeNode('Tanh', ['a'], ['r'])], []], // prettier-ignore
])('%s is dequantized at every run exactly where beforeRelu says so', async (_, dims, inner, more) => {
  // What is an output of the graph is not joined.
  const nodes = [...inner, makeNode('Sigmoid', ['r'], ['y'])];
  const outputs = ['y', ...more].map((name) => makeValue(name, 'float32'));
  const inputs = [makeValue('x', 'float32', dims)];
  const bias = weight('b', [4], 2);
  const float = makeModel({ opset: 21, inputs, outputs, initializers: [weight('w', [32, 4], 1), bias], nodes });
  const held = makeModel({
    ...{ opset: 21, inputs, outputs },
    initializers: [
      bias,
      makeTensor('codes', 'int4', [32, 4], Int8Array.from(noise(3, 128, 4), Math.round)),
      makeTensor('scale', 'float32', [2, 4], Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8)),
      makeTensor('zero', 'int4', [2, 4], new Int8Array(8)),
    ],
    nodes: [makeNode('DequantizeLinear', ['codes', 'scale', 'zero'], ['w'], { axis: 0, block_size: 16 }), ...nodes],
  });
  const feeds = { x: floats(noise(1, dims.reduce((a, b) => a * b, 1)), dims) }; // prettier-ignore
  const shapes = await testContext({ calibration: [feeds] }).shapes(float);
  const found = beforeRelu(float, shapes);
  const ops = await optimizedOps(held);
  expect([...found].map(({ name }) => name)).toEqual(ops.DequantizeLinear ? ['product'] : []);
  expect(ops.MatMulNBits ?? 0).toBe(ops.DequantizeLinear ? 0 : 1);
});
