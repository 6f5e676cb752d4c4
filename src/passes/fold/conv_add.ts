import * as z from 'zod';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { consumers, isOp, layerName, producers } from '../../graph/query.ts';
import type { Shapes } from '../../graph/shapes.ts';
import { dimsOf, typeOf } from '../../graph/tensor.ts';
import type { Note, Pass } from '../pass.ts';
import { constantTensors, hasMatMul, isLinear, linearLayer, perChannel, replaceLinear } from './linear.ts';

/**
 * Adding or subtracting a constant with one number a channel behind Conv, ConvTranspose, Gemm or MatMul becomes the layer's
 * bias; a MatMul of two axes becomes a Gemm by it. Integer kernels take the bias with the layer and need no Add of their own.
 */
export const foldBias: Pass<Record<string, never>> = {
  name: 'fold/conv_add',
  section: 'extensions',
  classes: ['FoldBias'],
  summary: 'makes an added constant the bias of the layer before it',
  source: 'own',
  options: z.strictObject({}),
  async apply(model, _options, ctx) {
    const changed: Note[] = [];
    const skipped: Note[] = [];
    const nodes = model.graph.node.filter((node) => isOp(node, 'Add', 'Sub') && candidate(model, node));
    const shapes: Shapes = nodes.length > 0 && hasMatMul(model) ? await ctx.shapes(model) : new Map();
    let now = model;
    for (const node of nodes) {
      const result = fold(now, node, shapes);
      if (typeof result === 'string') skipped.push({ layer: layerName(node), text: result });
      else {
        now = result.model;
        changed.push({ layer: layerName(node), text: result.text });
      }
    }
    return { model: now, changed, skipped };
  },
};

interface Candidate {
  readonly layer: NodeProto;
  readonly value: string;
  readonly constant: string;
}

/** An Add or Sub of a layer's result and a constant. */
function candidate(model: Model, node: NodeProto): Candidate | undefined {
  const made = producers(model.graph);
  const tensors = constantTensors(model);
  const orders = isOp(node, 'Add') ? [node.input, [...node.input].reverse()] : [node.input];
  for (const [value = '', constant = ''] of orders) {
    const layer = made.get(value);
    if (layer && isLinear(layer) && tensors.has(constant)) return { layer, value, constant };
  }
  return undefined;
}

function fold(model: Model, add: NodeProto, shapes: Shapes): { model: Model; text: string } | string {
  // An earlier fold may have renamed the layer's result.
  const found = candidate(model, add);
  if (!found) return 'the layer before it changed';
  const { value, constant } = found;
  const name = layerName(found.layer);
  const readers = consumers(model.graph);
  const once = (read: string): boolean =>
    readers.get(read)?.length === 1 && !model.graph.output.some((o) => o.name === read);
  if (!once(value)) return `"${value}" is read by others too`;
  const layer = linearLayer(model, found.layer);
  if (typeof layer === 'string') return layer;
  const tensor = constantTensors(model).get(constant);
  if (!tensor || typeOf(tensor) !== 'float32') return `the constant "${constant}" is not float32`;
  const matrix = isOp(found.layer, 'MatMul', 'Gemm');
  const rank = shapes.get(found.layer.input[0] ?? '')?.dims.length;
  if (isOp(found.layer, 'MatMul') && rank !== 2) return `the input of "${name}" has ${rank} axes, and Gemm takes 2`;
  const more = perChannel(tensor, 1, matrix ? 2 : dimsOf(layer.weight).length, layer.outputs);
  if (!more)
    return `the constant "${constant}" [${dimsOf(tensor).join(', ')}] is not one number a channel of "${name}"`;
  const sign = isOp(add, 'Sub') ? -1 : 1;
  const bias = layer.bias.map((b, o) => b + sign * (more[o] as number));
  // The name by which schedules know it, where nothing else reads it.
  const biasName = once(constant) ? constant : undefined;
  const next = edit(model, (draft) => {
    draft.removeNode(add);
    replaceLinear(draft, model, layer, { bias, biasName, output: add.output[0] });
  });
  return { model: next, text: `became the bias of "${name}"` };
}
