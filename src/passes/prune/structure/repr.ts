import * as z from 'zod';
import { channelGroups } from '../../../graph/channels.ts';
import type { Model } from '../../../graph/model.ts';
import { initializers, isOp } from '../../../graph/query.ts';
import { dimsOf, floatData } from '../../../graph/tensor.ts';
import { awayFrom, overlaps, spanOf } from '../../../numerics/orthogonal.ts';
import { QtoolError } from '../../../util/error.ts';
import { must } from '../../../util/must.ts';
import { seedOf, uniform } from '../../../util/uniform.ts';
import type { Note, Pass, PassContext, PassResult } from '../../pass.ts';
import { share, weightNames, weightSelectors, withWeights } from '../masks.ts';
import { structureOf, structureSites, zeroStructures, type StructureSite } from './structures.ts';

const options = z.strictObject({
  weights: weightNames.default(['*']),
  share: share.default(0.3).meta({ description: 'share of all filters together that is dropped' }),
  s1: z.int().min(1).default(20).meta({ description: 'epochs of the whole network in a cycle' }),
  s2: z.int().min(1).default(10).meta({ description: 'epochs without the dropped filters in a cycle' }),
  cycles: z.int().min(1).default(3).meta({ description: 'how often filters are dropped and brought back' }),
  readers: z.boolean().default(true).meta({ description: "draw the next layer's weights for a filter that comes back anew, too" }), // prettier-ignore
  seed: z.int().min(0).default(0),
});
type Options = z.infer<typeof options>;

/** What was dropped of each weight, and the values that it and its companions had before. */
type Dropped = ReadonlyMap<string, { readonly gone: readonly number[]; readonly was: ReadonlyMap<string, Float32Array> }>; // prettier-ignore

/**
 * Trains for s1 epochs, drops the filters that overlap most with others of their layer, trains s2 epochs without them, and brings them back in
 * directions that are orthogonal to those that stayed and to those that they had; again and again.
 */
export const repr: Pass<Options> = {
  name: 'prune/structure/repr',
  section: 'pruners',
  classes: ['RePr'],
  summary: 'drop overlapping filters for some epochs of training and bring them back orthogonally',
  source: 'Prakash et al. 2019 (arXiv 1811.07275)',
  trains: true,
  options,
  selectors: (o) => weightSelectors('weights', o.weights),
  async apply(model, o, ctx) {
    if (!ctx.lesson)
      throw new QtoolError('schedule', 'RePr drops filters for some epochs of training, and nothing is trained', { hint: 'write `training:`, and give its policy s1 + s2 epochs and one more for each cycle' }); // prettier-ignore
    if (ctx.lesson.passing)
      throw new QtoolError('schedule', 'RePr changes weights for good, and its policy masks the forward pass only', { hint: 'leave mask_on_forward_only out' }); // prettier-ignore
    const { sites, skipped } = convolutions(model, o);
    const at = ctx.clock.epoch - ctx.clock.start;
    const drops = at < o.cycles * (o.s1 + o.s2) && at % (o.s1 + o.s2) >= o.s1;
    const dropped = ctx.memory.get('dropped') as Dropped | undefined;
    if (drops === (dropped !== undefined)) return { model, changed: [], skipped, masks: companionMasks(sites) };
    const result = dropped ? await bringBack(model, sites, dropped, o, ctx) : drop(model, sites, o, ctx);
    return { ...result, skipped, masks: companionMasks(convolutions(result.model, o).sites) };
  },
};

function convolutions(
  model: Model,
  { weights }: Options,
): { readonly sites: readonly StructureSite[]; readonly skipped: readonly Note[] } {
  const { sites, skipped } = structureSites(model, weights, 'Filters');
  const fits = ({ node, dims }: StructureSite): boolean => isOp(node, 'Conv') && dims[1]! > 1;
  const unfit = sites.filter((site) => !fits(site)).map(({ layer, tensor }) => ({ layer: layer.node, text: `${tensor}: RePr compares filters of convolutions over several channels` })); // prettier-ignore
  return { sites: sites.filter(fits), skipped: [...skipped, ...unfit] };
}

/** The filters of a weight, each as a vector. */
function filtersOf(site: StructureSite, data = site.data): Float64Array[] {
  const of = structureOf(site);
  const filters = Array.from({ length: site.count }, () => new Float64Array(data.length / site.count));
  const filled = new Int32Array(site.count);
  for (let i = 0; i < of.length; i++) filters[of[i]!]![filled[of[i]!]!++] = data[i]!;
  return filters;
}

const isZero = (vector: Float64Array): boolean => vector.every((v) => v === 0);

/** A bias is 0 for as long as its filter is; one of another filter that happens to be 0 may move. */
function companionMasks(sites: readonly StructureSite[]): Map<string, Float32Array> {
  return new Map(sites.flatMap((site) => {
    const mask = Float32Array.from(filtersOf(site), (filter) => (isZero(filter) ? 0 : 1));
    return site.companions.map((name) => [name, mask] as const);
  })); // prettier-ignore
}

function drop(
  model: Model,
  sites: readonly StructureSite[],
  o: Options,
  ctx: PassContext,
): Omit<PassResult, 'skipped'> {
  const filters = sites.map((site) => filtersOf(site));
  const ranks = sites.flatMap((site, s) => {
    const scores = overlaps(filters[s]!);
    return Array.from(scores, (score, f) => ({ site, s, f, score }));
  });
  const alive = ranks.filter(({ s, f }) => !isZero(filters[s]![f]!)).sort((a, b) => b.score - a.score);
  const gone = new Map(sites.map((site) => [site, new Set<number>()]));
  const left = new Map(sites.map((site, s) => [site, filters[s]!.filter((filter) => !isZero(filter)).length]));
  let wanted = Math.floor(Number((o.share * alive.length).toFixed(9)));
  for (const { site, f } of alive) {
    const stay = must(left, site, 'the filters of');
    if (wanted === 0) break;
    if (stay === 1) continue;
    must(gone, site, 'the filters of').add(f);
    left.set(site, stay - 1);
    wanted--;
  }
  const stored = initializers(model.graph);
  const value = (name: string): Float32Array => floatData(must(stored, name, 'the weight'));
  const dropped: Dropped = new Map([...gone].map(([site, set]) => [site.tensor, { gone: [...set], was: new Map([site.tensor, ...site.companions].map((name) => [name, value(name)])) }])); // prettier-ignore
  ctx.memory.set('dropped', dropped);
  const changed = [...gone].map(([site, set]) => ({ layer: site.layer.node, text: `${site.tensor}: ${set.size} of ${site.count} Filters are dropped until epoch ${ctx.clock.epoch + o.s2}` })); // prettier-ignore
  return { model: zeroStructures(model, gone), changed };
}

async function bringBack(
  model: Model,
  sites: readonly StructureSite[],
  dropped: Dropped,
  o: Options,
  ctx: PassContext,
): Promise<Omit<PassResult, 'skipped'>> {
  ctx.memory.delete('dropped');
  const weights = new Map([...initializers(model.graph)].flatMap(([name, tensor]) => (tensor.data_type === 1 ? [[name, floatData(tensor).slice()] as const] : []))); // prettier-ignore
  const changed: Note[] = [];
  // First, for what comes back is to be orthogonal to what then stands there.
  if (o.readers) await drawReaders(model, dropped, weights, o, ctx);
  for (const site of sites) {
    const old = dropped.get(site.tensor);
    const before = old?.was.get(site.tensor);
    // A layer that was cut in the meantime has no place for them.
    if (!old || old.gone.length === 0 || before?.length !== site.data.length) continue;
    const random = uniform(seedOf(o.seed, ctx.clock.epoch, site.layer.index));
    const data = must(weights, site.tensor, 'the weight');
    const { fresh, orthogonal } = freshFilters(filtersOf(site, data), filtersOf(site, before), old.gone, random);
    const of = structureOf(site);
    const taken = new Int32Array(site.count);
    for (let i = 0; i < of.length; i++) {
      const filter = fresh.get(of[i]!);
      if (filter) data[i] = filter[taken[of[i]!]!++]!;
    }
    for (const name of site.companions)
      for (const f of old.gone) must(weights, name, 'the companion')[f] = old.was.get(name)?.[f] ?? 0;
    changed.push({ layer: site.layer.node, text: `${site.tensor}: ${fresh.size} Filters are back, ${orthogonal} of them orthogonal to all others` }); // prettier-ignore
  }
  return { model: withWeights(model, weights), changed };
}

/** New filters as long as those that stayed are in the mean; where a layer's filters span all there is, orthogonal to those that stayed, or by chance. */
function freshFilters(
  now: readonly Float64Array[],
  before: readonly Float64Array[],
  gone: readonly number[],
  random: () => number,
) {
  const kept = now.filter((filter, f) => !gone.includes(f) && !isZero(filter));
  const length = kept.reduce((sum, filter) => sum + Math.hypot(...filter), 0) / Math.max(1, kept.length) || 1;
  const stayed = spanOf(kept);
  const all = spanOf(gone.map((f) => before[f]!), stayed); // prettier-ignore
  const found: Float64Array[] = [];
  let orthogonal = 0;
  const fresh = new Map(gone.map((f) => {
    const drawn = now[f]!.map(() => 2 * random() - 1);
    const unit = awayFrom(drawn, [...all, ...found]);
    if (unit) orthogonal++;
    const chosen = unit ?? awayFrom(drawn, spanOf(found, stayed)) ?? awayFrom(drawn, []) ?? drawn;
    found.push(chosen);
    return [f, chosen.map((v) => v * length)] as const;
  })); // prettier-ignore
  return { fresh, orthogonal };
}

/** Draws what reads a channel that nothing else makes anew, as large as the weight's other numbers are in the mean square. */
async function drawReaders(
  model: Model,
  dropped: Dropped,
  weights: ReadonlyMap<string, Float32Array>,
  o: Options,
  ctx: PassContext,
) {
  const { members } = channelGroups(model, await ctx.shapes(model));
  const makers = members.filter(({ role }) => role === 'out');
  const back = new Set<number>();
  for (const { tensor, atoms } of makers)
    for (const f of dropped.get(tensor)?.gone ?? []) if (atoms[f]! >= 0) back.add(atoms[f]!);
  for (const { tensor, atoms } of makers)
    for (const [f, atom] of atoms.entries()) if (dropped.get(tensor)?.gone.includes(f) !== true) back.delete(atom);
  for (const [i, { role, tensor, axis, atoms }] of members.entries()) {
    const data = weights.get(tensor);
    const stored = initializers(model.graph).get(tensor);
    if (role !== 'in' || !data || !stored) continue;
    const random = uniform(seedOf(o.seed, ctx.clock.epoch, i, 1));
    const of = structureOf({ dims: dimsOf(stored), axis });
    const alive = data.filter((v) => v !== 0);
    const size = Math.sqrt(alive.reduce((sum, v) => sum + v * v, 0) / Math.max(1, alive.length));
    // Uniform numbers from −1 to 1 have a mean square of a third. What is pruned stays so.
    for (let k = 0; k < of.length; k++) if (back.has(atoms[of[k]!]!) && data[k] !== 0) data[k] = size * Math.sqrt(3) * (2 * random() - 1); // prettier-ignore
  }
}
