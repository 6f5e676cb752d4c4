import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { consumers, isOp, layerName } from '../../graph/query.ts';
import { given } from '../../util/must.ts';
import { portion, type Steps } from '../../util/steps.ts';
import { hasMoments, layerMoments, momentBytes, notFinite, tooWide, type Moments } from '../moments.ts';
import type { Note, PassContext } from '../pass.ts';
import { linearSizes, readRows, writeRows } from '../rows.ts';
import { pruneSites, type Left, type PruneSite } from './masks.ts';

/** A weight whose layer's inputs can be looked at, and the layers that read it. */
export interface GramSite {
  readonly site: PruneSite;
  readonly nodes: readonly NodeProto[];
}

/** Weights to prune by the inputs of their layers. */
export interface GramSites extends Left {
  readonly usable: readonly GramSite[];
}

/** Those of the weights that selectors pick whose layers' inputs can be looked at: second operands of Conv, Gemm and MatMul, as stored. */
export function gramSites(model: Model, selectors: readonly string[]): GramSites {
  const { sites, skipped: unfit, notes } = pruneSites(model, selectors);
  const readers = consumers(model.graph);
  const usable: GramSite[] = [];
  const skipped: Note[] = [...unfit];
  for (const site of sites) {
    const nodes = readers.get(site.name) ?? [];
    const why = nodes.map((node) => refusal(node, site)).find((reason) => reason !== undefined) ?? mixed(nodes, site);
    if (why === undefined) usable.push({ site, nodes });
    else skipped.push({ layer: site.layer.node, text: `${site.name}: ${why}` });
  }
  return { usable, skipped, notes };
}

function refusal(node: NodeProto, { name, dims }: PruneSite): string | undefined {
  if (!isOp(node, 'Conv', 'Gemm', 'MatMul') || node.input[0] === name || node.input[1] !== name)
    return `${layerName(node)} (${node.op_type}) reads it, whose inputs are not looked at: only Conv, Gemm and MatMul with the weight as second operand`;
  if (!isOp(node, 'Conv') && dims.length !== 2)
    return `a weight of ${dims.length} axes is no matrix: one for each batch is not pruned by its inputs`;
  if (!hasMoments({ node, dims })) return `${layerName(node)} has transA, whose inputs are not looked at`;
  return tooWide({ node, dims });
}

/** Columns of one reader are rows of the other: their inputs cannot be summed up. */
function mixed(nodes: readonly NodeProto[], { dims }: PruneSite): string | undefined {
  const [form, ...others] = nodes.map((node) => JSON.stringify(linearSizes({ node, dims })));
  const names = nodes.map((node) => `"${layerName(node)}"`).join(', ');
  return others.every((other) => other === form) ? undefined : `${names} read it in different orientations`;
}

/** Bytes of moments that are kept between the tries of a stage. */
const keptBytes = 256 * 2 ** 20;

interface SiteMoments {
  readonly known: readonly (readonly [GramSite, Moments])[];
  readonly skipped: readonly Note[];
}

/**
 * Second moments of the inputs of each weight's layers, summed over the layers that share it; weights without finite ones are skipped. They
 * are of the model as it is, whatever share of it is pruned: a stage's next try finds them in the cache.
 */
export async function siteMoments(
  ctx: PassContext,
  model: Model,
  sites: readonly GramSite[],
  samples: number,
): Promise<SiteMoments> {
  const bytes = sites.reduce((sum, { site, nodes }) => sum + (nodes[0] ? momentBytes({ node: nodes[0], dims: site.dims }) : 0), 0); // prettier-ignore
  const cache = bytes <= keptBytes ? ctx.cache : undefined;
  const asked = JSON.stringify([samples, sites.map(({ site }) => site.name)]);
  const kept = cache?.get('moments') as (SiteMoments & { readonly model: Model; readonly asked: string }) | undefined;
  if (kept?.model === model && kept.asked === asked) return kept;
  const found = await freshMoments(ctx, model, sites, samples);
  // The first stays: what a try asks for later is mostly of what it has changed.
  if (!kept) cache?.set('moments', { ...found, model, asked });
  return found;
}

/** The same, found anew and kept nowhere. */
export async function freshMoments(
  ctx: PassContext,
  model: Model,
  sites: readonly GramSite[],
  samples: number,
): Promise<SiteMoments> {
  const requests = sites.flatMap(({ site, nodes }) =>
    nodes.map((node) => ({ node, dims: site.dims, input: node.input[0] as string })),
  );
  const moments = await layerMoments(ctx, model, requests, { samples });
  let from = 0;
  const known: [GramSite, Moments][] = [];
  const skipped: Note[] = [];
  for (const usage of sites) {
    const { site, nodes } = usage;
    const sums = summed(moments.slice(from, (from += nodes.length)));
    const why = notFinite(sums);
    if (why === undefined) known.push([usage, sums]);
    else skipped.push({ layer: site.layer.node, text: `${site.name} left whole: ${why}` });
  }
  return { known, skipped };
}

/** The moments of a weight that several layers read alike: as if one layer had seen all of their inputs. */
export function summed(moments: readonly Moments[]): Moments {
  const [first, ...others] = moments;
  const plus = (x: Float64Array, y: Float64Array): Float64Array => x.map((v, i) => v + y[i]!);
  const sums = <T extends Pick<Moments, 'count' | 'sum' | 'targetSum'>>(a: T, b: Moments['all']): T => ({
    ...a,
    count: a.count + b.count,
    sum: plus(a.sum, b.sum),
    targetSum: plus(a.targetSum, b.targetSum),
  });
  return others.reduce(
    (a, b) => ({
      ...sums(a, b),
      gram: plus(a.gram, b.gram),
      target: plus(a.target, b.target),
      power: plus(a.power, b.power),
      all: sums(a.all, b.all),
    }),
    given(first, 'the moments of a weight'),
  );
}

/** The Gram matrix [K, K] of one group's inputs. */
export const gramOf = ({ gram, size }: Moments, group: number): Float64Array =>
  gram.slice(group * size * size, (group + 1) * size * size);

/** Applies `work` to each group's matrix [outputs, K] of a weight and puts the results back in the weight's own order. */
export function* eachMatrix(
  { site, nodes }: GramSite,
  work: (matrix: Float32Array, shape: readonly [number, number], group: number) => Steps<Float32Array>,
): Steps<Float32Array> {
  const layer = { node: given(nodes[0], site.name), dims: site.dims };
  const { groups, rows, size } = linearSizes(layer);
  const own = readRows(layer, site.data);
  const done = new Float64Array(own.length);
  for (let g = 0; g < groups; g++) {
    const from = g * rows * size;
    const steps = work(Float32Array.from(own.subarray(from, from + rows * size)), [rows, size], g);
    done.set(yield* portion(steps, g / groups, (g + 1) / groups), from);
  }
  return Float32Array.from(writeRows(layer, done));
}
