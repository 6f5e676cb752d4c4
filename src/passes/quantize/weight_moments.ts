import { makeNode } from '../../graph/build.ts';
import { edit } from '../../graph/edit.ts';
import type { Layer } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { isOp, layerName } from '../../graph/query.ts';
import { hasMoments, layerMoments, momentBytes, tooWide, type MomentRequest, type Moments } from '../moments.ts';
import { must } from '../../util/must.ts';
import type { PassContext } from '../pass.ts';
import { tooFew, withoutHeldOut } from './held_out.ts';
import { isMatrix } from './targets.ts';

/** Bytes of second moments held at once; layers beyond that wait for another pass over the data. */
const momentLimit = 512 * 2 ** 20;
/** Float32 holds normal numbers from 2⁻¹²⁶: products of a square above this with 24 bits of digits are right. */
const smallestSquare = 2 ** -100;

/** What is known of a weight's inputs, or why nothing. */
export interface SiteMoments {
  readonly site: Layer;
  readonly moments: Moments | undefined;
  /** Where they are of few inputs: those without some samples, which a rounding by the others can be tried on. */
  readonly most?: Moments | undefined;
  readonly why?: string | undefined;
}

/**
 * Second moments of what each weight is multiplied with, a bounded number of layers a pass over the data. Recurrent layers: W
 * meets the layer's input; R meets the hidden state, for which the layer's outputs stand (all steps, all directions). Sites
 * that have none (embeddings, ConvTranspose, constants on the left, batched matrices) come with undefined, first; so do, later,
 * those whose inputs are not finite, or so small that float32 cannot hold their squares; and those of which moments would be too large. `why` says which.
 * @param limit bytes of moments that one pass may hold; a layer that needs more is looked at alone.
 */
export async function* siteMoments(
  ctx: PassContext,
  model: Model,
  sites: readonly Layer[],
  samples: number,
  limit = momentLimit,
): AsyncGenerator<SiteMoments> {
  const { model: named, states } = withStates(model, sites);
  const groups: { site: Layer; request: MomentRequest }[][] = [];
  let room = 0;
  for (const site of sites) {
    const request = requestOf(site, states);
    const wide = request && tooWide(request);
    if (request === undefined || wide !== undefined) {
      yield { site, moments: undefined, why: wide };
      continue;
    }
    const bytes = momentBytes(request);
    if (bytes > room) {
      groups.push([]);
      room = limit;
    }
    groups.at(-1)?.push({ site, request });
    room -= bytes;
  }
  for (const group of groups) {
    const requests = group.map(({ request }) => request);
    const found = await layerMoments(ctx, named, requests, { samples });
    const few = found.flatMap((moments, i) => (tooFew(moments) && untelling(moments) === undefined ? [i] : []));
    const held = await withoutHeldOut(ctx, named, few.map((i) => requests[i]!), few.map((i) => found[i]!), samples); // prettier-ignore
    for (const [i, { site }] of group.entries()) {
      const moments = found[i] as Moments;
      const why = untelling(moments);
      const most = few.includes(i) ? held[few.indexOf(i)] : undefined;
      yield why === undefined ? { site, moments, most } : { site, moments: undefined, why };
    }
  }
}

/** A NaN or an infinity that later nodes mask says nothing about the weights; nor do squares at the end of float32's range, which have lost their digits. */
function untelling({ gram }: Moments): string | undefined {
  const largest = gram.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (!Number.isFinite(largest)) return 'its inputs are not finite on the calibration data';
  return largest === 0 || largest > smallestSquare ? undefined : 'its inputs are too small for their squares';
}

function requestOf(layer: Layer, states: ReadonlyMap<NodeProto, string>): MomentRequest | undefined {
  const { node, input, weight } = layer;
  const { dims } = weight;
  const data = node.input[0] as string;
  if (isOp(node, 'LSTM', 'GRU', 'RNN')) {
    // The moments of [.., K] rows are a MatMul's.
    const { rows, columns } = weight.view();
    const value = input === 1 ? data : must(states, node, 'the states of');
    return { node: makeNode('MatMul', [], []), dims: [columns, rows], input: value };
  }
  const known = isOp(node, 'Conv') || (isMatrix(layer) && hasMoments({ node, dims }));
  return known ? { node, dims, input: data } : undefined;
}

/** The model with the first output of each layer's node named (of recurrent ones the hidden states), and the names. */
function withStates(
  model: Model,
  sites: readonly Layer[],
): { readonly model: Model; readonly states: ReadonlyMap<NodeProto, string> } {
  const states = new Map<NodeProto, string>();
  const named = edit(model, (draft) => {
    for (const { node } of sites) {
      const name = draft.current(node).output[0] || draft.freshName(`${layerName(node)}_states`);
      states.set(node, name);
      draft.update(node, { output: [name, ...node.output.slice(1)] });
    }
  });
  return { model: named, states };
}
