import type { Feeds, Tensor } from '../../../data/types.ts';
import { channelGroups, type Channels } from '../../../graph/channels.ts';
import { edit } from '../../../graph/edit.ts';
import type { Model } from '../../../graph/model.ts';
import { initializers, isOp } from '../../../graph/query.ts';
import { floatData, makeTensor } from '../../../graph/tensor.ts';
import type { Note, PassContext } from '../../pass.ts';
import { blockCost, takeBlock } from './eliminate.ts';
import { addMoments, emptyMoments, linearSizes, momentsGraph, type Moments, type Target } from './moments.ts';
import { bestBias, leastSquares } from './refit.ts';
import { readRows, refitSites, writeRows, type Site } from './sites.ts';

/** Floats of one im2col matrix; batches are cut into rows that fit. */
const matrixLimit = 32 * 2 ** 20;

export interface ReconstructOptions {
  readonly samples: number;
  readonly ridge: number;
  /** Also make up, in a layer that is added to a shortcut, for what the shortcut lost. */
  readonly shortcuts: boolean;
}

/**
 * Refits layers of a pruned model, front to back, so that each reproduces the unpruned model's output on calibration data from
 * the inputs that the pruned layers before it give (He et al. 2017, arXiv 1707.06168; Luo et al. 2017, ThiNet): ridge
 * regression of the weights that are left, and of the bias. `layers`: which ones, by name. `removed`: the atoms of `channels`
 * (of `before`) that were cut.
 */
export async function reconstruct(
  ctx: PassContext,
  {
    before,
    channels,
    removed,
    after,
  }: {
    readonly before: Model;
    readonly channels: Channels;
    readonly removed: ReadonlySet<number>;
    readonly after: Model;
  },
  layers: ReadonlySet<string>,
  options: ReconstructOptions,
): Promise<{ readonly model: Model; readonly notes: readonly Note[] }> {
  const sites = refitSites(after, channelGroups(after, await ctx.shapes(after))).filter((s) => layers.has(s.layer));
  const notes: Note[] = [];
  let model = after;
  for (const [i, site] of sites.entries()) {
    ctx.progress(0.5 + (0.5 * i) / sites.length, `refitting ${site.layer}`);
    const target = targetOf(site, channels, removed, options.shortcuts);
    const result = await refitLayer(ctx, { before, model, site, target, take: [] }, options);
    model = result.model;
    notes.push({ layer: site.layer, text: refitText(result.error) });
  }
  return { model, notes };
}

export const refitText = (error: number): string =>
  `refitted: ${(100 * error).toFixed(2)} % of the power of its output is not reproduced`;

/** A float value that a layer should give. */
export interface NamedTarget extends Target {
  readonly value: string;
}

/** One layer refitted to reproduce `target` of `before` from its input in `model`, without the columns in `take`. */
export async function refitLayer(
  ctx: PassContext,
  {
    before,
    model,
    site,
    target,
    take,
  }: {
    readonly before: Model;
    readonly model: Model;
    readonly site: Site;
    readonly target: NamedTarget;
    readonly take: readonly (readonly number[])[];
  },
  options: { readonly samples: number; readonly ridge: number },
): Promise<{ readonly model: Model; readonly error: number }> {
  const moments = await collect(ctx, before, model, site, target, options.samples);
  const { weights, bias, error } = solve(model, site, moments, options.ridge, take);
  return { model: withLayer(model, site, weights, bias), error };
}

/** The float value to reproduce, and which of its channels are left. */
export function targetOf(
  site: Site,
  channels: Channels,
  removed: ReadonlySet<number>,
  shortcuts: boolean,
): NamedTarget {
  const value = shortcuts && site.shortcut ? site.shortcut.sum : site.y;
  const dims = channels.dims.get(value) ?? [];
  const axis = isOp(site.node, 'Conv') ? 1 : dims.length - 1;
  const labels = channels.axes.get(value)?.[axis];
  const kept = labels?.some((atom) => removed.has(atom))
    ? Int32Array.from(labels.keys()).filter((i) => !removed.has(labels[i] as number))
    : undefined;
  return { value, dims, axis, kept, shortcut: shortcuts && site.shortcut !== undefined };
}

async function collect(
  ctx: PassContext,
  before: Model,
  model: Model,
  site: Site,
  target: NamedTarget,
  samples: number,
): Promise<Moments> {
  const moments = emptyMoments(site);
  const graph = momentsGraph(site, target);
  const other = target.shortcut ? site.shortcut?.other : undefined;
  const floats = ctx.capture(before, [target.value], samples)[Symbol.asyncIterator]();
  const { groups, rows, size } = linearSizes(site);
  for await (const values of ctx.capture(model, other ? [site.x, other] : [site.x], samples)) {
    const float = ((await floats.next()).value as Feeds)[target.value] as Tensor;
    const x = values[site.x] as Tensor;
    const batch = x.dims[0] ?? 1;
    const columns =
      (float.data.length / (target.kept ? (target.dims[target.axis] as number) : groups * rows)) * size * groups;
    const step = Math.max(1, Math.floor((batch * matrixLimit) / columns));
    for (let from = 0; from < batch; from += step) {
      const part = (t: Tensor): Tensor => rowsOf(t, batch, from, Math.min(batch, from + step));
      const feeds: Record<string, Tensor> = { x: part(x), float: part(float) };
      if (other) feeds.shortcut = part(values[other] as Tensor);
      const got = await ctx.compute(graph, feeds);
      const channelsLeft = target.kept ? (target.dims[target.axis] as number) : groups * rows;
      addMoments(moments, got, (feeds.float as Tensor).data.length / channelsLeft);
    }
  }
  return moments;
}

function rowsOf(tensor: Tensor, batch: number, from: number, to: number): Tensor {
  if (from === 0 && to === batch) return tensor;
  const each = tensor.data.length / batch;
  const data = (tensor.data as Float32Array).subarray(from * each, to * each);
  return { type: tensor.type, dims: [((tensor.dims[0] ?? 1) / batch) * (to - from), ...tensor.dims.slice(1)], data };
}

/** The layer's best weights and bias; `error` is the share of the target's power that they leave. */
function solve(
  model: Model,
  site: Site,
  moments: Moments,
  ridge: number,
  take: readonly (readonly number[])[],
): { weights: Float64Array; bias: Float64Array | undefined; error: number } {
  const stored = initializers(model.graph).get(site.tensor);
  const own = readRows(site, stored ? floatData(stored) : new Float32Array());
  const { groups, rows, size } = linearSizes(site);
  const weights = new Float64Array(own.length);
  const bias = new Float64Array(groups * rows);
  let [error, power] = [0, 0];
  for (let g = 0; g < groups; g++) {
    const mine = own.subarray(g * rows * size, (g + 1) * rows * size);
    const problem = leastSquares(moments, g, mine, { ridge, bias: site.canBias });
    for (const block of take) {
      error += blockCost(problem, block);
      takeBlock(problem, block);
    }
    weights.set(problem.weights, g * rows * size);
    if (site.canBias) bias.set(bestBias(moments, g, problem), g * rows);
    error += problem.error;
    power += problem.power;
  }
  return { weights, bias: site.canBias ? bias : undefined, error: error / power };
}

/** Stores a layer's weights; a layer without bias gets one. */
function withLayer(model: Model, site: Site, weights: Float64Array, bias: Float64Array | undefined): Model {
  return edit(model, (draft) => {
    draft.setInitializer(makeTensor(site.tensor, 'float32', site.weight, writeRows(site, weights)));
    if (!bias) return;
    const name = site.bias ?? draft.freshName(`${site.layer}_bias`);
    draft.setInitializer(makeTensor(name, 'float32', [bias.length], Float32Array.from(bias)));
    const node = draft.nodes().find((n) => n.output[0] === site.y);
    if (!site.bias && node) draft.update(node, { input: [...node.input.slice(0, 2), name] });
  });
}
