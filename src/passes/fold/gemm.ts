import { floatAttribute, intAttribute } from '../../graph/attribute.ts';
import { makeNode } from '../../graph/build.ts';
import { edit, type Draft } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { layers, type Layer } from '../../graph/layer.ts';
import { isOp } from '../../graph/query.ts';
import { elementCount, dimsOf, floatData, makeTensor, typeOf } from '../../graph/tensor.ts';
import type { Note } from '../pass.ts';
import { foldPass } from './each.ts';
import { ownedBy } from './tensors.ts';

/**
 * Gemm in the one form that integer kernels know, α·A'·B' + β·C with α = β = 1, A as it is and C one number an output
 * (https://onnx.ai/onnx/operators/onnx__Gemm.html): α goes into constant weights, β into a constant C, transA becomes a Transpose, a
 * C that differs from row to row an Add behind the product. Each number is rounded once more at most.
 */
export const foldGemm = foldPass({
  name: 'fold/gemm',
  classes: ['FoldGemm'],
  summary: "puts Gemm's alpha and beta into constants, and what no kernel takes beside it",
  apply: (model) => Promise.resolve(apply(model)),
});

function apply(model: Model): { model: Model; changed: Note[]; skipped: Note[] } {
  const changed: Note[] = [];
  const gemms = layers(model).layers.filter(
    ({ node, input, weight }) => isOp(node, 'Gemm') && input === 1 && typeOf(weight.tensor) === 'float32',
  );
  const result = edit(model, (draft) => {
    for (const layer of gemms) {
      const done = [turned(draft, layer), scaled(draft, model, layer), biased(draft, model, layer)];
      const text = done.filter((part) => part !== undefined).join(', ');
      if (text !== '') changed.push({ layer: layer.name, text });
    }
  });
  return { model: changed.length > 0 ? result : model, changed, skipped: [] };
}

function turned(draft: Draft, { node }: Layer): string | undefined {
  if (intAttribute(node, 'transA', 0) !== 1) return undefined;
  const [a = '', ...rest] = draft.current(node).input;
  const value = draft.freshName(`${a}_turned`);
  draft.addNode(makeNode('Transpose', [a], [value], { perm: [1, 0] }));
  draft.setAttribute(draft.update(node, { input: [value, ...rest] }), 'transA', undefined);
  return 'transA became a Transpose';
}

function scaled(draft: Draft, model: Model, { node, weight }: Layer): string | undefined {
  const alpha = floatAttribute(node, 'alpha', 1);
  if (alpha === 1) return undefined;
  const { tensor, dims } = weight;
  const data = floatData(tensor).map((w) => w * alpha);
  put(draft, model, node, 1, makeTensor(tensor.name, 'float32', dims, data));
  draft.setAttribute(node, 'alpha', undefined);
  return `alpha ${alpha} went into its weights`;
}

function biased(draft: Draft, model: Model, { node, weight, bias }: Layer): string | undefined {
  const beta = floatAttribute(node, 'beta', 1);
  if ((node.input[2] ?? '') === '') {
    if (beta !== 1) draft.setAttribute(node, 'beta', undefined);
    return undefined;
  }
  if (!bias || typeOf(bias) !== 'float32') return undefined;
  const outputs = weight.view().rows;
  const dims = dimsOf(bias);
  if (beta === 1 && dims.join() === String(outputs)) return undefined;
  const values = floatData(bias).map((b) => b * beta);
  if (beta !== 1) draft.setAttribute(node, 'beta', undefined);
  // [], [1], [1, 1] and [1, N] are one number an output; anything else differs from row to row.
  if (elementCount(dims.slice(0, -1)) === 1) {
    const each = Float32Array.from({ length: outputs }, (_, o) => values[values.length === 1 ? 0 : o]!);
    put(draft, model, node, 2, makeTensor(bias.name, 'float32', [outputs], each));
    return 'its C is one number an output now';
  }
  const sum = draft.freshName(`${node.output[0]}_product`);
  const stored = beta === 1 ? bias.name : draft.add(bias.name, makeTensor(bias.name, 'float32', dims, values));
  const now = draft.current(node);
  const [y = ''] = now.output;
  draft.update(node, { input: now.input.slice(0, 2), output: [sum] });
  draft.addNode(makeNode('Add', [sum, stored], [y]));
  return 'its C, which differs from row to row, is added behind it';
}

/** Gives a node another constant: in place where it alone reads it, else a copy. */
function put(draft: Draft, model: Model, node: Layer['node'], input: number, tensor: Layer['weight']['tensor']): void {
  const now = draft.current(node);
  const own = ownedBy(model, node, tensor.name);
  if (own) draft.replace(tensor.name, tensor);
  const name = own ? tensor.name : draft.add(tensor.name, tensor);
  draft.update(node, { input: now.input.map((old, i) => (i === input ? name : old)) });
}
