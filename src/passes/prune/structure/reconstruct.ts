import type { Feeds, Tensor } from '../../../data/types.ts';
import { channelGroups, type Channels } from '../../../graph/channels.ts';
import { edit } from '../../../graph/edit.ts';
import type { Model } from '../../../graph/model.ts';
import { initializers, isOp } from '../../../graph/query.ts';
import { floatData, makeTensor } from '../../../graph/tensor.ts';
import { given } from '../../../util/must.ts';
import { breathing, type Steps } from '../../../util/steps.ts';
import { difference, notFinite, openMoments, tooWide, type Moments } from '../../moments.ts';
import type { Note, PassContext } from '../../pass.ts';
import { linearSizes, readRows, writeRows } from '../../rows.ts';
import { blockCost, takeBlock } from './eliminate.ts';
import { bestBias, leastSquares } from './refit.ts';
import { refitSites, type Site } from './sites.ts';

export interface ReconstructOptions {
  readonly samples: number;
  readonly ridge: number;
}

/** A model from which the atoms `removed` of `channels` were cut. */
export interface Cut {
  readonly before: Model;
  readonly channels: Channels;
  readonly removed: ReadonlySet<number>;
  readonly after: Model;
}

/**
 * Refits layers of a pruned model, front to back, so that each reproduces the unpruned model's output on calibration data from
 * the inputs that the pruned layers before it give (He et al. 2017, arXiv 1707.06168; Luo et al. 2017, ThiNet): ridge
 * regression of the weights that are left, and of the bias. A layer that is added to a shortcut also makes up for what that lost.
 * `layers`: which ones, by name.
 */
export async function reconstruct(
  ctx: PassContext,
  { before, channels, removed, after }: Cut,
  layers: ReadonlySet<string>,
  options: ReconstructOptions,
): Promise<{ readonly model: Model; readonly notes: readonly Note[] }> {
  const sites = refitSites(after, channelGroups(after, await ctx.shapes(after))).filter((s) => layers.has(s.layer));
  const notes: Note[] = [];
  let model = after;
  for (const [i, site] of sites.entries()) {
    ctx.progress(0.5 + (0.5 * i) / sites.length, `refitting ${site.layer}`);
    const target = targetOf(site, channels, removed, true);
    const result = await refitLayer(ctx, { before, model, site, target, take: [] }, options);
    if (typeof result !== 'string') model = result.model;
    notes.push({ layer: site.layer, text: refitText(result) });
  }
  return { model, notes };
}

/** A layer that was refitted, with the share of its output's power that this leaves; or why it was not. */
type Refitted = { readonly model: Model; readonly error: number } | string;

export const refitText = (result: Refitted): string =>
  typeof result === 'string'
    ? `not refitted: ${result}`
    : `refitted: ${(100 * result.error).toFixed(2)} % of the power of its output is not reproduced`;

/** What a layer should give: a value of the float model, of which some channels are left, less a shortcut added to it later. */
export interface Target {
  readonly value: string;
  /** Channel axis and the indices that are left; undefined where all are. */
  readonly axis: number;
  readonly kept: Int32Array | undefined;
  readonly shortcut: boolean;
}

/** A layer that is to give `target` of `before` from its input in `model`, without the columns in `take`. */
export interface Refit {
  readonly before: Model;
  readonly model: Model;
  readonly site: Site;
  readonly target: Target;
  readonly take: readonly (readonly number[])[];
}

export async function refitLayer(
  ctx: PassContext,
  refit: Refit,
  { samples, ridge }: ReconstructOptions,
): Promise<Refitted> {
  const wide = tooWide(refit.site);
  if (wide !== undefined) return wide;
  const moments = await collect(ctx, refit, samples);
  const why = notFinite(moments);
  if (why !== undefined) return why;
  const steps = solve(refit, moments, ridge);
  const { weights, bias, error } = await breathing(steps, { signal: ctx.signal });
  return { model: withLayer(refit.model, refit.site, weights, bias), error };
}

/** The float value to reproduce, and which of its channels are left. */
export function targetOf(site: Site, channels: Channels, removed: ReadonlySet<number>, shortcuts: boolean): Target {
  const value = shortcuts && site.shortcut ? site.shortcut.sum : site.y;
  const dims = channels.dims.get(value) ?? [];
  const axis = isOp(site.node, 'Conv') ? 1 : dims.length - 1;
  const labels = channels.axes.get(value)?.[axis];
  const kept = labels?.some((atom) => removed.has(atom))
    ? Int32Array.from(labels.keys()).filter((i) => !removed.has(labels[i]!))
    : undefined;
  return { value, axis, kept, shortcut: shortcuts && site.shortcut !== undefined };
}

async function collect(ctx: PassContext, { before, model, site, target }: Refit, samples: number): Promise<Moments> {
  const sums = openMoments(site, { target: 'given' });
  const other = target.shortcut ? site.shortcut?.other : undefined;
  const floats = ctx.capture(before, [target.value], samples)[Symbol.asyncIterator]();
  for await (const values of ctx.capture(model, other ? [site.x, other] : [site.x], samples)) {
    const float = left(given(((await floats.next()).value as Feeds)[target.value], target.value), target);
    const y = other ? difference(float, given(values[other], other)) : float;
    await sums.add(ctx, { hat: given(values[site.x], site.x), float: y });
  }
  await floats.return?.();
  return sums.close(ctx);
}

/** The channels of a float value that are left. */
function left(value: Tensor, { axis, kept }: Target): Tensor {
  if (!kept) return value;
  const inner = value.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
  const size = (value.dims[axis] ?? 1) * inner;
  const outer = value.data.length / size;
  const data = new Float32Array(outer * kept.length * inner);
  for (let o = 0, to = 0; o < outer; o++)
    for (const channel of kept) {
      const from = o * size + channel * inner;
      data.set((value.data as Float32Array).subarray(from, from + inner), to);
      to += inner;
    }
  return { type: value.type, dims: value.dims.map((d, i) => (i === axis ? kept.length : d)), data };
}

/** The layer's best weights and bias, and the error they leave. */
function* solve(
  { model, site, take }: Refit,
  moments: Moments,
  ridge: number,
): Steps<{ readonly weights: Float64Array; readonly bias: Float64Array | undefined; readonly error: number }> {
  const stored = initializers(model.graph).get(site.tensor);
  const own = readRows(site, stored ? floatData(stored) : new Float32Array());
  const { groups, rows, size } = linearSizes(site);
  const weights = new Float64Array(own.length);
  const bias = new Float64Array(groups * rows);
  let [error, power] = [0, 0];
  for (let g = 0; g < groups; g++) {
    const mine = own.subarray(g * rows * size, (g + 1) * rows * size);
    const problem = yield* leastSquares(moments, g, mine, { ridge, bias: site.canBias });
    for (const block of take) {
      error += blockCost(problem, block);
      takeBlock(problem, block);
      yield g / groups;
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
    const fitted = Float32Array.from(writeRows(site, weights));
    draft.replace(site.tensor, makeTensor(site.tensor, 'float32', site.dims, fitted));
    if (!bias) return;
    const tensor = makeTensor(`${site.layer}_bias`, 'float32', [bias.length], Float32Array.from(bias));
    if (site.bias) return draft.replace(site.bias, tensor);
    const node = given(
      draft.nodes().find((n) => n.output[0] === site.y),
      site.layer,
    );
    draft.update(node, { input: [...node.input.slice(0, 2), draft.add(tensor.name, tensor)] });
  });
}
