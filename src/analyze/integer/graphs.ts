import { makeModel, makeNode, makeValue } from '../../graph/build.ts';
import type { Model } from '../../graph/model.ts';
import { NodeCodec, type NodeProto, type ValueInfoProto } from '../../graph/proto.ts';
import { makeTensor } from '../../graph/tensor.ts';
import type { Tensor } from '../../data/types.ts';
import type { ProductStep } from './steps.ts';

/** An input of a tensor's type and rank, of any size. */
export function declared(name: string, { type, dims }: Pick<Tensor, 'type' | 'dims'>): ValueInfoProto {
  return makeValue(name, type, dims.map((_, d) => `${name}_${d}`)); // prettier-ignore
}

const kept = new Set(['auto_pad', 'dilations', 'group', 'kernel_shape', 'pads', 'strides', 'transA', 'transB']);

/** The bare operator of a product: no bias, no factors. */
function bare(node: NodeProto, input: readonly string[], output: string): NodeProto {
  const plain = makeNode(node.op_type, input, [output]);
  return NodeCodec.amend(plain, { attribute: node.attribute.filter(({ name }) => kept.has(name)) });
}

/** A graph from the parts of the data, `x0` …, and a computed factor `w` to a product of each, `y0` …. */
export function productGraph(step: ProductStep, parts: readonly Tensor[], other: Tensor | undefined): Model {
  const { node, weights } = step;
  return makeModel({
    inputs: [...parts.map((part, i) => declared(`x${i}`, part)), ...(other ? [declared('w', other)] : [])],
    outputs: parts.map((_, i) => makeValue(`y${i}`, 'float32')),
    nodes: parts.map((_, i) => bare(node, [`x${i}`, 'w'], `y${i}`)),
    initializers: weights ? [makeTensor('w', 'float32', weights.dims, weights.data)] : [],
  });
}

/** From the data, cut at 0, to the sum of all products above 0 (`y`): no partial sum of any order is larger. */
export function positiveGraph(step: ProductStep, data: Tensor): Model {
  const { dims = [], data: all = new Float32Array(0) } = step.weights ?? {};
  const cut = (sign: number): Float32Array => all.map((w) => (w * sign > 0 ? w : 0));
  return makeModel({
    inputs: [declared('x', data)],
    outputs: [makeValue('y', 'float32')],
    nodes: [
      makeNode('Relu', ['x'], ['above']),
      makeNode('Sub', ['x', 'above'], ['below']),
      bare(step.node, ['above', 'up'], 'first'),
      bare(step.node, ['below', 'down'], 'second'),
      makeNode('Add', ['first', 'second'], ['y']),
    ],
    initializers: [makeTensor('up', 'float32', dims, cut(1)), makeTensor('down', 'float32', dims, cut(-1))],
  });
}

/** From [planes, 1, …] to the sums over the windows of an average pool. */
export function windowGraph(node: NodeProto, window: readonly number[], data: Tensor): Model {
  const ones = new Float32Array(window.reduce((a, b) => a * b, 1)).fill(1);
  return makeModel({
    inputs: [declared('x', data)],
    outputs: [makeValue('y', 'float32')],
    nodes: [bare(NodeCodec.amend(node, { op_type: 'Conv' }), ['x', 'w'], 'y')],
    initializers: [makeTensor('w', 'float32', [1, 1, ...window], ones)],
  });
}
