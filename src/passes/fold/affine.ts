import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { isOp, layerName, producers } from '../../graph/query.ts';
import type { Shapes } from '../../graph/shapes.ts';
import { dimsOf, typeOf } from '../../graph/tensor.ts';
import { foldEach, foldPass } from './each.ts';
import { isNormalization, normalization, replaceNormalization } from './normalization.ts';
import { hasMatMul, isLinear, linearLayer, replaceLinear, scaledWeight } from './linear.ts';
import { constantTensors, perChannel, readOnce } from './tensors.ts';

/**
 * Adding or multiplying by a constant with one number a channel, behind Conv, ConvTranspose, Gemm, MatMul or
 * BatchNormalization, goes into the layer: y = (W·x + b)·m + c = (m·W)·x + (m·b + c). A MatMul of two axes becomes a Gemm by
 * it. Integer kernels take the bias with the layer and need no Add of their own.
 */
export const foldAffine = foldPass({
  name: 'fold/affine',
  classes: ['FoldAffine'],
  summary: 'makes an added or multiplied constant part of the layer before it',
  async apply(model, _options, ctx) {
    const constants = constantTensors(model);
    const nodes = model.graph.node.filter(
      (node) => isOp(node, 'Add', 'Sub', 'Mul', 'Div') && node.input.some((name) => constants.has(name)),
    );
    // Only behind these the number of axes is not plain from the graph.
    const unclear = hasMatMul(model) || model.graph.node.some(isNormalization);
    const shapes: Shapes = nodes.length > 0 && unclear ? await ctx.shapes(model) : new Map();
    return foldEach(model, nodes, (now, node) => {
      const found = candidate(now, node);
      if (!found) return undefined;
      const result = fold(now, node, found, shapes);
      if (typeof result === 'string') return result;
      const role = isOp(node, 'Add', 'Sub') ? 'the bias of' : 'a factor in';
      return { model: result, text: `became ${role} "${layerName(found.layer)}"` };
    });
  },
});

interface Candidate {
  readonly layer: NodeProto;
  readonly value: string;
  readonly constant: TensorProto;
}

/** A layer's result and a constant, of which the node is the sum, difference, product or quotient. */
function candidate(model: Model, node: NodeProto): Candidate | undefined {
  const made = producers(model.graph);
  const tensors = constantTensors(model);
  const orders = isOp(node, 'Add', 'Mul') ? [node.input, [...node.input].reverse()] : [node.input];
  for (const [value = '', name = ''] of orders) {
    const layer = made.get(value);
    const constant = tensors.get(name);
    if (layer && constant && (isLinear(layer) || isNormalization(layer))) return { layer, value, constant };
  }
  return undefined;
}

function fold(model: Model, node: NodeProto, found: Candidate, shapes: Shapes): Model | string {
  const { layer, value, constant } = found;
  if (!readOnce(model, value)) return `"${value}" is read by others too`;
  if (typeOf(constant) !== 'float32') return `the constant "${constant.name}" is not float32`;
  return isLinear(layer) ? intoLinear(model, node, found, shapes) : intoNormalization(model, node, found, shapes);
}

const unequal = (constant: TensorProto, layer: NodeProto): string =>
  `the constant "${constant.name}" [${dimsOf(constant).join(', ')}] is not one number a channel of "${layerName(layer)}"`;

function intoLinear(model: Model, node: NodeProto, found: Candidate, shapes: Shapes): Model | string {
  const { layer: before, constant } = found;
  const layer = linearLayer(model, before);
  if (typeof layer === 'string') return layer;
  const adds = isOp(node, 'Add', 'Sub');
  const matMul = isOp(before, 'MatMul');
  const rank = matMul ? shapes.get(before.input[0] ?? '')?.dims.length : dimsOf(layer.weight).length;
  if (rank === undefined || (matMul && adds && rank !== 2))
    return `the input of "${layerName(before)}" has ${rank ?? 'unknown'} axes, and Gemm takes 2`;
  // MatMul and Gemm have their outputs on the last axis, convolutions on the second.
  const values = perChannel(constant, isOp(before, 'MatMul', 'Gemm') ? rank - 1 : 1, rank, layer.outputs);
  if (!values) return unequal(constant, before);
  const { factor, term } = affineOf(node, values);
  if (!factor.every(Number.isFinite)) return `the constant "${constant.name}" divides by zero`;
  const [output = ''] = node.output;
  const bias = layer.bias.map((b, c) => b * factor[c]! + term[c]!);
  // The name by which schedules know it, where nothing else reads it.
  const biasName = adds && readOnce(model, constant.name) ? constant.name : undefined;
  const weight = adds ? undefined : scaledWeight(layer, factor, 'outputs');
  return edit(model, (draft) => {
    draft.removeNode(node);
    replaceLinear(draft, model, layer, { weight, bias, biasName, output });
  });
}

function intoNormalization(model: Model, node: NodeProto, found: Candidate, shapes: Shapes): Model | string {
  const { layer: before, constant } = found;
  const bn = normalization(model, before);
  if (typeof bn === 'string') return bn;
  const rank = shapes.get(before.input[0] ?? '')?.dims.length ?? 0;
  const values = perChannel(constant, 1, rank, bn.gamma.length);
  if (!values) return unequal(constant, before);
  const { factor, term } = affineOf(node, values);
  if (!factor.every(Number.isFinite)) return `the constant "${constant.name}" divides by zero`;
  const gamma = bn.gamma.map((g, c) => g * factor[c]!);
  const beta = bn.beta.map((b, c) => b * factor[c]! + term[c]!);
  return edit(model, (draft) => {
    draft.removeNode(node);
    replaceNormalization(draft, model, before, { gamma, beta }, node.output[0] ?? '');
  });
}

/** The node as x·factor + term, one entry a channel. */
function affineOf(node: NodeProto, values: Float64Array): { factor: Float64Array; term: Float64Array } {
  const ones = values.map(() => 1);
  const zeros = values.map(() => 0);
  if (isOp(node, 'Add')) return { factor: ones, term: values };
  if (isOp(node, 'Sub')) return { factor: ones, term: values.map((v) => -v) };
  return { factor: isOp(node, 'Mul') ? values : values.map((v) => 1 / v), term: zeros };
}
