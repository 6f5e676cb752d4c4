import { makeNode } from '../../graph/build.ts';
import { edit } from '../../graph/edit.ts';
import type { Layer } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { isOp, layerName } from '../../graph/query.ts';
import { hasMoments, layerMoments, momentBytes, type MomentRequest, type Moments } from '../moments.ts';
import type { PassContext } from '../pass.ts';
import { isMatrix } from './targets.ts';

/** Bytes of second moments held at once; layers beyond that wait for another pass over the data. */
const momentLimit = 512 * 2 ** 20;

/**
 * Second moments of what each weight is multiplied with, a bounded number of layers a pass over the data. Recurrent layers: W
 * meets the layer's input; R meets the hidden state, for which the layer's outputs stand (all steps, all directions). Sites
 * that have none (embeddings, ConvTranspose, constants on the left, batched matrices) come with undefined, first; so do, later,
 * those whose inputs are not finite.
 */
export async function* siteMoments(
  ctx: PassContext,
  model: Model,
  sites: readonly Layer[],
  samples: number,
): AsyncGenerator<{ readonly site: Layer; readonly moments: Moments | undefined }> {
  const { model: named, states } = withStates(model, sites);
  const wanted = sites.map((site) => ({ site, request: requestOf(site, states) }));
  for (const { site, request } of wanted) if (request === undefined) yield { site, moments: undefined };
  let group: { site: Layer; request: MomentRequest }[] = [];
  let bytes = 0;
  const collected = async function* () {
    const requests = group.map((one) => one.request);
    const found = group.length === 0 ? [] : await layerMoments(ctx, named, requests, { samples });
    // A NaN or an infinity that later nodes mask says nothing about the weights.
    for (const [i, { site }] of group.entries())
      yield { site, moments: found[i]?.gram.every(Number.isFinite) ? found[i] : undefined };
  };
  for (const { site, request } of wanted) {
    if (request === undefined) continue;
    const own = momentBytes(request);
    if (bytes + own > momentLimit) {
      yield* collected();
      [group, bytes] = [[], 0];
    }
    group.push({ site, request });
    bytes += own;
  }
  yield* collected();
}

function requestOf(layer: Layer, states: ReadonlyMap<NodeProto, string>): MomentRequest | undefined {
  const { node, input, weight } = layer;
  const { dims } = weight;
  if (isOp(node, 'LSTM', 'GRU', 'RNN')) {
    const value = input === 1 ? node.input[0] : states.get(node);
    // The moments of [.., K] rows are a MatMul's.
    const rows = makeNode('MatMul', [value ?? '', weight.tensor.name], [layerName(node)]);
    return { node: rows, dims: [dims[2] as number, (dims[0] as number) * (dims[1] as number)], input: value ?? '' };
  }
  const known = hasMoments({ node, dims }) && (isOp(node, 'Conv') || isMatrix(layer));
  return known ? { node, dims, input: node.input[0] as string } : undefined;
}

/** The model with the sequence of hidden states of recurrent layers named, where it was left out. */
function withStates(
  model: Model,
  sites: readonly Layer[],
): { readonly model: Model; readonly states: ReadonlyMap<NodeProto, string> } {
  const states = new Map<NodeProto, string>();
  const named = edit(model, (draft) => {
    for (const { node } of sites) {
      if (!isOp(node, 'LSTM', 'GRU', 'RNN') || states.has(node)) continue;
      const name = node.output[0] || draft.freshName(`${layerName(node)}_states`);
      states.set(node, name);
      if (!node.output[0]) draft.update(node, { output: [name, ...node.output.slice(1)] });
    }
  });
  return { model: named, states };
}
