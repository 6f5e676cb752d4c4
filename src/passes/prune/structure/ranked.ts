import * as z from 'zod';
import type { Model } from '../../../graph/model.ts';
import { initializers } from '../../../graph/query.ts';
import { floatData } from '../../../graph/tensor.ts';
import { QtoolError } from '../../../util/error.ts';
import { must } from '../../../util/must.ts';
import { anyPass, type Note, type Pass, type PassContext, type PassResult } from '../../pass.ts';
import { blockShape, zeroBlocks } from './blocks.ts';
import {
  groupTypes,
  isOutput,
  type roundings,
  structureMask,
  structureNote,
  structureSites,
  structuresToPrune,
  weakest,
  zeroStructures,
  type GroupType,
  type StructureSite,
} from './structures.ts';
import { seeded } from './random.ts';
import { rampedSparsity, share, weightNames, weightSelectors } from '../masks.ts';

/** How a number of structures is made whole; Distiller's files name Python's functions. */
export const rounding = z
  .enum(['floor', 'ceil', 'round', 'math.floor', 'math.ceil'])
  .default('floor')
  .transform((name) => name.replace('math.', '') as keyof typeof roundings);

/** The arguments that all of Distiller's ranked structure pruners share. */
export const rankedShape = {
  group_type: z.enum([...groupTypes, 'Blocks']).default('Filters'),
  weights: weightNames,
  group_dependency: z
    .enum(['Leader'])
    .nullish()
    .meta({ description: "Leader: the first weight's structures go in all of them" }),
  group_size: z
    .int()
    .min(1)
    .default(1)
    .meta({ description: 'prune structures in numbers that are a multiple of this' }),
  rounding_fn: rounding,
  noise: z.number().min(0).default(0).meta({ description: 'random share of the scores, to break their order' }),
  seed: z.int().min(0).default(0),
  kwargs: z
    .strictObject({ block_shape: blockShape })
    .nullish()
    .meta({ description: 'for group_type Blocks: { block_shape: [filters, channels, 1, 1] }' }),
};

export type RankedOptions = z.infer<z.ZodObject<typeof rankedShape>>;

type Facts = Pick<Pass, 'name' | 'classes' | 'summary' | 'source' | 'trains'>;

/** Scores of a weight's structures; a sentence where it has none. */
type Ranks = ArrayLike<number> | string;

/** What a ranked pruner is, but for its arguments. */
export interface RankedMethod<O extends RankedOptions = RankedOptions> extends Facts {
  /** Scores of a weight's structures; the least go. */
  readonly rank?: (site: StructureSite, options: O, ctx: PassContext, model: Model) => Promise<Ranks>;
  /** Those of all weights at once, where that is cheaper, instead. */
  readonly rankAll?: (
    sites: readonly StructureSite[],
    options: O,
    ctx: PassContext,
    model: Model,
  ) => Promise<ReadonlyMap<StructureSite, Ranks>>;
  /** Arguments that it alone has. */
  readonly more?: z.ZodRawShape;
  /** It drops for a while in training: what stays stands for what is gone, so the output is divided by the kept share. */
  readonly compensates?: boolean;
  /** Structures that go instead of the weakest, where the method does not count them. */
  readonly choose?: (scores: ArrayLike<number>, sparsity: number) => Set<number>;
  /** Only outputs have what it looks at (activations). */
  readonly outputsOnly?: boolean;
  /** The norm it ranks by, where it can rank blocks of weights too. */
  readonly norm?: 'l1' | 'l2';
}

/** Blocks are ranked by a norm, are given their shape, and take nothing that is meant for whole structures. */
function checkBlocks(
  o: RankedOptions,
  { norm, classes: [name] }: Pick<RankedMethod, 'norm' | 'classes'>,
): [key: string, message: string][] {
  if (o.group_type !== 'Blocks') return o.kwargs ? [['kwargs', 'only group_type Blocks has a block_shape']] : [];
  if (norm === undefined)
    return [['group_type', `${name} ranks no Blocks: L1 and L2RankedStructureParameterPruner do`]];
  if (!o.kwargs) return [['kwargs', 'is missing: { block_shape: [filters, channels, 1, 1] }']];
  const idle = { group_dependency: o.group_dependency, group_size: o.group_size > 1, noise: o.noise > 0 };
  return Object.entries(idle).flatMap(([key, set]) => (set ? [[key, 'means nothing for Blocks']] : []));
}

/**
 * Distiller's two forms of a structure pruner: one that zeros `desired_sparsity` of each weight's structures, and the _AGP form that
 * ramps from `initial_sparsity` to `final_sparsity` over the policy's epochs. `shape` are the other options, O once they are read.
 */
export function twoForms<O extends { readonly weights: readonly string[] }>(
  { name, classes, summary, source, trains }: Facts,
  shape: z.ZodRawShape,
  apply: (model: Model, options: O, sparsity: number, ctx: PassContext) => Promise<PassResult>,
  check: (options: O, ctx: z.RefinementCtx) => void = () => undefined,
): Pass[] {
  const schema = <S>(sparsity: z.ZodRawShape): z.ZodType<O & S> =>
    z.strictObject({ ...sparsity, ...shape }).superRefine((o, ctx) => check(o as O, ctx)) as z.ZodType as z.ZodType<
      O & S
    >;
  const once: Pass<O & { readonly desired_sparsity: number }> = {
    name,
    section: 'pruners',
    classes,
    summary,
    source,
    ...(trains === true ? { trains } : {}),
    options: schema({ desired_sparsity: share }),
    selectors: (o) => weightSelectors('weights', o.weights),
    strength: {
      at: (o, t) => ({ ...o, desired_sparsity: o.desired_sparsity * t }),
      describe: (o) => `sparsity ${o.desired_sparsity.toFixed(2)}`,
    },
    apply: (model, o, ctx) => apply(model, o, o.desired_sparsity, ctx),
  };
  const ramped: Pass<O & { readonly initial_sparsity: number; readonly final_sparsity: number }> = {
    ...once,
    inBodies: undefined,
    name: `${name}_agp`,
    file: name,
    classes: classes.map((one) => `${one}_AGP`),
    summary: `${summary}, little by little`,
    options: schema({ initial_sparsity: share, final_sparsity: share }),
    selectors: (o) => weightSelectors('weights', o.weights),
    strength: {
      // Its beginning is weakened where it would lie above its end.
      at: (o, t) => ({
        ...o,
        initial_sparsity: Math.min(o.initial_sparsity, o.final_sparsity * t),
        final_sparsity: o.final_sparsity * t,
      }),
      describe: (o) => `sparsity ${o.final_sparsity.toFixed(2)}`,
    },
    apply: (model, o, ctx) => apply(model, o, rampedSparsity(o, ctx), ctx),
  };
  return [anyPass(once), anyPass(ramped)];
}

/** The two forms of a pruner by ranks. Structures are zeroed with their bias and batch norm; FilterRemover and its kin then cut them. */
export function rankedPasses<O extends RankedOptions = RankedOptions>(method: RankedMethod<O>): Pass[] {
  return twoForms<O>(
    method,
    { ...rankedShape, ...method.more },
    (model, o, sparsity, ctx) => apply(model, o, sparsity, method, ctx),
    (o, ctx) => {
      for (const [key, message] of checkBlocks(o, method)) ctx.addIssue({ code: 'custom', path: [key], message });
    },
  );
}

async function apply<O extends RankedOptions>(
  model: Model,
  o: O,
  sparsity: number,
  method: RankedMethod<O>,
  ctx: PassContext,
): Promise<PassResult> {
  const type: GroupType | 'Blocks' = o.group_type;
  if (type === 'Blocks') return zeroBlocks(model, o, sparsity, method.norm ?? 'l1');
  if (method.outputsOnly && !isOutput(type))
    throw new QtoolError('schedule', `${method.classes[0]} ranks Filters by their activations, not ${type}`, {
      hint: 'write group_type: Filters',
    });
  const { sites, skipped: unfit, notes } = structureSites(model, o.weights, type);
  const skipped: Note[] = [...unfit];
  const zeros = new Map<StructureSite, ReadonlySet<number>>();
  const leads = o.group_dependency === 'Leader' ? sites.slice(0, 1) : sites;
  const known = leads.length > 0 ? await method.rankAll?.(leads, o, ctx, model) : undefined;
  let leader: { site: StructureSite; gone: ReadonlySet<number> } | undefined;
  for (const [i, site] of sites.entries()) {
    ctx.progress(i / sites.length, `ranking ${site.layer.node}`);
    if (o.group_dependency === 'Leader' && leader) {
      if (leader.site.count !== site.count)
        throw new QtoolError(
          'schedule',
          `${site.tensor} has ${site.count} ${type}, its leader ${leader.site.tensor} has ${leader.site.count}`,
          { at: site.layer.node, hint: 'with group_dependency: Leader all weights need the same number' },
        );
      zeros.set(site, leader.gone);
      continue;
    }
    const ranks = known?.get(site) ?? (await method.rank?.(site, o, ctx, model)) ?? 'it has no ranks';
    if (typeof ranks === 'string') {
      skipped.push({ layer: site.layer.node, text: ranks });
      continue;
    }
    const scores = noisy(ranks, o, site);
    const count = structuresToPrune(site.count, sparsity, o.group_size, o.rounding_fn);
    const gone = method.choose?.(scores, sparsity) ?? weakest(scores, count);
    leader ??= { site, gone };
    zeros.set(site, gone);
  }
  return {
    model: zeroStructures(model, zeros),
    changed: [...zeros].map(([site, gone]) => structureNote(site, type, gone.size)),
    skipped,
    ...(method.compensates && ctx.lesson?.passing === true ? { masks: compensated(model, zeros) } : {}),
    notes: [...notes, ...(sites.length > 0 ? [`sparsity ${sparsity.toFixed(4)} of each weight's ${type}`] : [])],
  };
}

/**
 * Masks of weights whose structures were dropped by chance, divided by the share that stayed so that outputs keep their mean: at the last that
 * a filter goes through, for a batch norm undoes the scale of what is before it.
 */
function compensated(model: Model, zeros: ReadonlyMap<StructureSite, ReadonlySet<number>>): Map<string, Float32Array> {
  const stored = initializers(model.graph);
  const masks = new Map<string, Float32Array>();
  for (const [site, gone] of zeros) {
    const scale = site.count / Math.max(1, site.count - gone.size);
    const own = new Set([...site.node.input]);
    const behind = site.companions.filter((name) => !own.has(name));
    const normed = behind.length > 1;
    masks.set(site.tensor, structureMask(site, gone, normed ? 1 : scale));
    for (const name of site.companions) {
      const values = floatData(must(stored, name, 'the companion'));
      masks.set(name, values.map((_, i) => (gone.has(i) ? 0 : normed && own.has(name) ? 1 : scale))); // prettier-ignore
    }
  }
  return masks;
}

/** Scores times 1 ± noise. */
export function noisy(
  scores: ArrayLike<number>,
  { noise, seed }: { readonly noise: number; readonly seed: number },
  site: StructureSite,
): ArrayLike<number> {
  if (noise === 0) return scores;
  const next = seeded(seed + site.layer.index);
  return Array.from(scores, (score) => score * (1 + noise * (2 * next() - 1)));
}
