import { floatAttribute } from '../../graph/attribute.ts';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { consumers, isOp } from '../../graph/query.ts';
import { makeTensor } from '../../graph/tensor.ts';
import { given } from '../../util/must.ts';
import type { PassResult } from '../pass.ts';
import { floatsOf } from './carry.ts';

/**
 * Lets a pruner rank weights of convolutions as they act: with the BatchNormalization behind them folded in, w · γ / √(σ² + ε) by output
 * channel. What it zeroes of them is zeroed of the weights themselves.
 * Source: Distiller's PruningPolicy with `fold_batchnorm`; Krishnamoorthi 2018 (arXiv 1806.08342), equation 20.
 */
export async function rankedFolded(model: Model, prune: (model: Model) => Promise<PassResult>): Promise<PassResult> {
  const acting = actingWeights(model);
  const stored = floatsOf(model);
  const seen = edit(model, (draft) => {
    for (const [name, data] of acting)
      draft.replace(name, makeTensor(name, 'float32', given(stored.get(name), name).dims, data));
  });
  const result = await prune(seen);
  const after = floatsOf(result.model);
  const own = edit(result.model, (draft) => {
    for (const [name, data] of acting) {
      const now = given(after.get(name), name).data;
      const { dims, data: was } = given(stored.get(name), name);
      draft.replace(name, makeTensor(name, 'float32', dims, was.map((v, i) => (now[i] === 0 && data[i] !== 0 ? 0 : v)))); // prettier-ignore
    }
  });
  return { ...result, model: own };
}

/** Weights of convolutions that a BatchNormalization alone reads, each of one convolution, with that folded in. */
function actingWeights(model: Model): Map<string, Float32Array> {
  const floats = floatsOf(model);
  const readers = consumers(model.graph);
  const shown = new Set(model.graph.output.map(({ name }) => name));
  const folded = new Map<string, Float32Array>();
  for (const node of model.graph.node) {
    const [weight = '', output = ''] = [node.input[1], node.output[0]];
    const tensor = floats.get(weight);
    const [norm, ...others] = readers.get(output) ?? [];
    if (!isOp(node, 'Conv') || !tensor || readers.get(weight)?.length !== 1 || shown.has(output)) continue;
    if (!norm || !isOp(norm, 'BatchNormalization') || others.length > 0) continue;
    const [scale, variance] = [norm.input[1], norm.input[4]].map((name) => floats.get(name ?? '')?.data);
    if (!scale || !variance) continue;
    const epsilon = floatAttribute(norm, 'epsilon', 1e-5);
    const each = tensor.data.length / scale.length;
    const factor = scale.map((v, c) => v / Math.sqrt(variance[c]! + epsilon));
    folded.set(weight, tensor.data.map((v, i) => v * factor[Math.floor(i / each)]!)); // prettier-ignore
  }
  return folded;
}
