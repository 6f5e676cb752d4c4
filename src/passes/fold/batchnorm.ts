import { intsAttribute, stringAttribute } from '../../graph/attribute.ts';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { consumers, isOp, layerName, producers } from '../../graph/query.ts';
import { typeOf } from '../../graph/tensor.ts';
import type { Shapes } from '../../graph/shapes.ts';
import { foldEach, foldPass, type Folded } from './each.ts';
import { hasMatMul, isLinear, linearLayer, replaceLinear, response, scaledWeight, type LinearLayer } from './linear.ts';
import { isNormalization, normalization } from './normalization.ts';
import { constantTensors, perChannel, readOnce } from './tensors.ts';

/**
 * BatchNormalization at inference is y = a·x + b with a = scale / √(var + ε), b = shift − a·mean for each channel. It goes into
 * the layer before it (W·a, bias·a + b) or, where that cannot be, into the layers after it (W·a by input channel, bias + W·b).
 * Computed in float64, rounded once.
 */
export const foldBatchNorm = foldPass({
  name: 'fold/batchnorm',
  classes: ['FoldBatchNorm'],
  summary: 'folds BatchNormalization into the weights of the layer before or after it',
  source: 'Jacob et al. 2018, arXiv:1712.05877, section 3.2',
  async apply(model, _options, ctx) {
    const nodes = model.graph.node.filter(isNormalization);
    // Only of a MatMul the number of axes is not plain from the graph.
    const shapes: Shapes = nodes.length > 0 && hasMatMul(model) ? await ctx.shapes(model) : new Map();
    let done = 0;
    return foldEach(model, nodes, (now, node) => {
      ctx.progress(++done / nodes.length, layerName(node));
      return fold(now, node, shapes);
    });
  },
});

/** y = scale·x + shift, one entry a channel. */
interface Affine {
  readonly scale: Float64Array;
  readonly shift: Float64Array;
}

/** Folds one BatchNormalization, or says why it stays. */
function fold(model: Model, bn: NodeProto, shapes: Shapes): Folded {
  const affine = affineOf(model, bn);
  if (typeof affine === 'string') return affine;
  const before = intoProducer(model, bn, affine, shapes);
  if (typeof before !== 'string') return before;
  const after = intoReaders(model, bn, affine, shapes);
  return typeof after === 'string' ? `${before}; ${after}` : after;
}

function affineOf(model: Model, node: NodeProto): Affine | string {
  const bn = normalization(model, node);
  if (typeof bn === 'string') return bn;
  const scale = bn.gamma.map((g, c) => g / Math.sqrt(bn.variance[c]! + bn.epsilon));
  const shift = bn.beta.map((b, c) => b - scale[c]! * bn.mean[c]!);
  const finite = scale.every(Number.isFinite) && shift.every(Number.isFinite);
  return finite ? { scale, shift } : 'its variance makes a factor that is not finite';
}

function intoProducer(model: Model, bn: NodeProto, { scale, shift }: Affine, shapes: Shapes): Folded {
  const [x = ''] = bn.input;
  const from = producers(model.graph).get(x);
  if (!from) return `its input "${x}" comes from no layer`;
  const added = isOp(from, 'Add') ? matMulBefore(model, from) : undefined;
  const node = added?.node ?? from;
  if (!isLinear(node)) return `it follows ${from.op_type}`;
  if (!readOnce(model, x)) return `"${x}" is read by others too`;
  const layer = linearLayer(model, node);
  if (typeof layer === 'string') return layer;
  if (isOp(node, 'MatMul') && !isMatrix(shapes, node)) return `"${layerName(node)}" has no rows and columns only`;
  if (layer.outputs !== scale.length) return `"${layerName(node)}" has ${layer.outputs} outputs, not ${scale.length}`;
  const bias = scale.map((a, c) => ((added?.bias ?? layer.bias)[c] as number) * a + shift[c]!);
  const weight = scaledWeight(layer, scale, 'outputs');
  const output = bn.output[0] as string;
  const next = edit(model, (draft) => {
    if (added) draft.removeNode(from);
    draft.removeNode(bn);
    replaceLinear(draft, model, layer, { weight, bias, output });
  });
  return { model: next, text: `folded into "${layerName(node)}" before it` };
}

/** A MatMul whose result an Add of one number a column passes on. */
function matMulBefore(model: Model, add: NodeProto): { node: NodeProto; bias: Float64Array } | undefined {
  const made = producers(model.graph);
  const tensors = constantTensors(model);
  for (const [value = '', constant = ''] of [add.input, [...add.input].reverse()]) {
    const node = made.get(value);
    const tensor = tensors.get(constant);
    if (!node || !tensor || !isOp(node, 'MatMul') || !readOnce(model, value) || typeOf(tensor) !== 'float32') continue;
    const layer = linearLayer(model, node);
    const bias = typeof layer === 'string' ? undefined : perChannel(tensor, 1, 2, layer.outputs);
    if (bias) return { node, bias };
  }
  return undefined;
}

function intoReaders(model: Model, bn: NodeProto, { scale, shift }: Affine, shapes: Shapes): Folded {
  const [y = ''] = bn.output;
  if (model.graph.output.some((o) => o.name === y)) return 'its result is an output of the model';
  const readers = consumers(model.graph).get(y) ?? [];
  if (readers.length === 0) return 'nothing reads it';
  const layers: LinearLayer[] = [];
  for (const reader of readers) {
    const why = unfit(reader, y, shift, shapes);
    if (why !== undefined) return why;
    const layer = linearLayer(model, reader);
    if (typeof layer === 'string') return layer;
    if (layer.inputs !== scale.length) return `"${layerName(reader)}" reads it otherwise than by channel`;
    layers.push(layer);
  }
  // One edit a layer: each may make copies of tensors that it shares with the others.
  let next = model;
  for (const { node } of layers) {
    const layer = linearLayer(next, node) as LinearLayer;
    const more = response(layer, shift);
    const bias = layer.bias.map((b, o) => b + more[o]!);
    const weight = scaledWeight(layer, scale, 'inputs');
    next = edit(next, (draft) => replaceLinear(draft, next, layer, { weight, bias }));
  }
  next = edit(next, (draft) => {
    draft.rewire(y, bn.input[0] as string);
    draft.removeNode(bn);
  });
  return { model: next, text: `folded into ${layers.map((l) => `"${layerName(l.node)}"`).join(', ')} after it` };
}

/** Why a reader cannot take a scale and shift of its input; undefined where it can. */
function unfit(reader: NodeProto, value: string, shift: Float64Array, shapes: Shapes): string | undefined {
  const layer = `"${layerName(reader)}"`;
  if (!isLinear(reader) || reader.input[0] !== value) return `its reader ${layer} is ${reader.op_type}`;
  if (isOp(reader, 'MatMul') && !isMatrix(shapes, reader)) return `its reader ${layer} has no rows and columns only`;
  const shifts = shift.some((b) => b !== 0);
  if (shifts && isOp(reader, 'ConvTranspose'))
    return `at the borders of ConvTranspose ${layer} a shift is not constant`;
  const pads = intsAttribute(reader, 'pads')?.some((p) => p !== 0) ?? false;
  const auto = stringAttribute(reader, 'auto_pad', 'NOTSET').startsWith('SAME');
  if (shifts && isOp(reader, 'Conv') && (pads || auto)) return `the zero padding of ${layer} comes after its shift`;
  return undefined;
}

function isMatrix(shapes: Shapes, node: NodeProto): boolean {
  return shapes.get(node.input[0] ?? '')?.dims.length === 2;
}
