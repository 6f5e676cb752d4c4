import * as z from 'zod';
import { channelGroups, leaveOne, removeChannels, type ChannelGroup, type Channels } from '../../../graph/channels.ts';
import type { Model } from '../../../graph/model.ts';
import { assignNames, layerFacts } from '../../../graph/names.ts';
import { cubicRamp, rampProgress } from '../../../numerics/agp.ts';
import type { Note, Pass, PassContext, PassResult } from '../../pass.ts';
import { allocate, allocateUniform, type Candidate } from './allocate.ts';
import { candidatesOf, guarded } from './candidates.ts';
import { costOf, type Unit } from './cost.ts';
import { reconstruct } from './reconstruct.ts';
import { channelScores } from './scores.ts';
import { refitSites } from './sites.ts';

const share = z.number().gt(0).max(1);
const options = z.strictObject({
  budget: z
    .union([z.strictObject({ macs: share }), z.strictObject({ parameters: share }), z.strictObject({ bytes: share })])
    .meta({ description: 'the share of multiply-accumulates, parameters or bytes that may stay' }),
  weights: z
    .array(z.string())
    .min(1)
    .default(['*'])
    .meta({ description: 'layers whose channels may go; names or patterns' }),
  criterion: z
    .enum(['reconstruction', 'l1', 'l2', 'activation_mean', 'apoz', 'random'])
    .default('reconstruction')
    .meta({ description: 'what makes a channel weak; reconstruction = the layers that read it lose least without it' }),
  allocation: z.enum(['measured', 'layerwise', 'uniform']).default('measured').meta({
    description: 'how much of each layer: by damage weighed by its effect on the outputs, by damage alone, all alike',
  }),
  residual: z.boolean().default(true).meta({ description: 'also cut channels that several layers make together' }),
  reconstruct: z.boolean().default(true).meta({ description: 'refit the layers that read cut channels' }),
  multiple: z.int().min(1).default(1).meta({ description: 'keep a multiple of this many channels of each group' }),
  samples: z.int().min(1).default(512),
  ridge: z
    .number()
    .min(0)
    .default(1e-3)
    .meta({ description: 'pull towards the old weights, in units of the mean power of an input' }),
  seed: z.int().min(0).default(0),
});

export type ChannelPrunerOptions = z.infer<typeof options>;

/**
 * Cuts whole channels until a budget is met, chosen by what the layers that read them lose, and refits those layers on
 * calibration data, so that moderate cuts need no training.
 */
export const channelPruner: Pass<ChannelPrunerOptions> = {
  name: 'prune/structure/channel_pruner',
  section: 'pruners',
  classes: ['ChannelPruner'],
  summary: 'cut channels for real down to a budget and refit the layers that read them',
  source: 'He et al. 2017 (arXiv 1707.06168), ThiNet (1707.06342), block OBS after ZipLM (2302.04089)',
  options,
  selectors: (o) => o.weights.map((pattern, i) => ({ pattern, path: ['weights', i], over: 'weights' })),
  strength: {
    at: (o, t) => {
      const [unit, left] = budgetOf(o);
      return { ...o, budget: { [unit]: 1 - (1 - left) * t } as ChannelPrunerOptions['budget'] };
    },
    describe: (o) => {
      const [unit, left] = budgetOf(o);
      return `${(100 * left).toFixed(1)} % of the ${unit === 'macs' ? 'MACs' : unit}`;
    },
  },
  apply,
};

const budgetOf = (o: ChannelPrunerOptions): [Unit, number] => Object.entries(o.budget)[0] as [Unit, number];

async function apply(model: Model, o: ChannelPrunerOptions, ctx: PassContext): Promise<PassResult> {
  const channels = channelGroups(model, await ctx.shapes(model));
  const chosen = chosenGroups(model, channels, o);
  const { candidates, skipped } = await priced(model, channels, chosen.groups, o, ctx);
  const [unit, final] = budgetOf(o);
  const { epoch, start: first, end, frequency } = ctx.clock;
  // Over several epochs the budget falls along Zhu & Gupta's ramp.
  const left = cubicRamp(1, final, rampProgress(epoch, first, end, frequency));
  const start = firstCost(ctx, unit, costOf(model, channels, unit).total());
  const allot = o.allocation === 'uniform' ? allocateUniform : allocate;
  const picked = allot(candidates, costOf(model, channels, unit), left * start, o.multiple);
  const order = candidates.flatMap((candidate) => candidate.order.filter((atom) => picked.has(atom)));
  const removed = leaveOne(channels, order);
  const cut = removeChannels(model, channels, removed);
  const readers = refitSites(model, channels).filter((site) => site.columns.some((atom) => removed.has(atom)));
  const { model: result, notes: refitted } = o.reconstruct
    ? await reconstruct(ctx, { before: model, channels, removed, after: cut }, new Set(readers.map((s) => s.layer)), {
        ...o,
        shortcuts: true,
      })
    : { model: cut, notes: [] };
  return {
    model: result,
    changed: [...cutNotes(chosen.groups, candidates, removed), ...refitted],
    skipped: [...channels.frozen.map(({ layer, text }) => ({ layer, text })), ...chosen.skipped, ...skipped],
    notes: [
      ...chosen.notes,
      ...(['macs', 'parameters', 'bytes'] as const).map((u) => costNote(model, channels, removed, u)),
    ],
  };
}

/** The cost that budgets are shares of: that of the model this instance saw first. */
function firstCost(ctx: PassContext, unit: Unit, now: number): number {
  const known = ctx.memory.get(`cost:${unit}`);
  if (typeof known === 'number') return known;
  ctx.memory.set(`cost:${unit}`, now);
  return now;
}

/** The groups all of whose layers the selectors name. */
function chosenGroups(
  model: Model,
  channels: Channels,
  o: ChannelPrunerOptions,
): { readonly groups: readonly ChannelGroup[]; readonly skipped: readonly Note[]; readonly notes: readonly string[] } {
  const { nodes, notes } = assignNames(o.weights, layerFacts(model), 'weights');
  const skipped: Note[] = [];
  const groups = channels.groups.filter((group) => {
    const text = !group.layers.every((layer) => nodes.has(layer))
      ? 'left alone: no entry of the pruner names it, or not all layers that share its channels'
      : !o.residual && group.layers.length > 1
        ? `left alone: ${group.layers.length} layers make its channels together, and residual is off`
        : undefined;
    if (text) skipped.push(...group.layers.map((layer) => ({ layer, text })));
    return !text;
  });
  return { groups, skipped, notes };
}

async function priced(
  model: Model,
  channels: Channels,
  groups: readonly ChannelGroup[],
  o: ChannelPrunerOptions,
  ctx: PassContext,
): Promise<{ readonly candidates: readonly Candidate[]; readonly skipped: readonly Note[] }> {
  const scores =
    o.criterion === 'reconstruction' ? undefined : await channelScores(model, channels, o.criterion, o, ctx);
  if (scores && o.allocation === 'uniform' && !o.reconstruct) {
    const candidates = groups.map(({ atoms }): Candidate => {
      const order = [...atoms].sort((a, b) => (scores.get(a) ?? 0) - (scores.get(b) ?? 0));
      return { order, damage: [0, ...order.map(() => 0)], guarded: guarded(channels, order), weight: 1 };
    });
    return { candidates, skipped: [] };
  }
  const { samples, ridge } = o;
  return candidatesOf(ctx, model, channels, groups, { samples, ridge, scores, probe: o.allocation === 'measured' });
}

function cutNotes(
  groups: readonly ChannelGroup[],
  candidates: readonly Candidate[],
  removed: ReadonlySet<number>,
): Note[] {
  return groups.flatMap(({ layers, atoms }) => {
    const gone = atoms.filter((atom) => removed.has(atom)).length;
    const damage = candidates.find(
      (candidate) => candidate.order[0] !== undefined && atoms.includes(candidate.order[0]),
    )?.damage[gone];
    if (gone === 0) return [];
    const lost = damage ? `; its readers lose ${(100 * damage).toFixed(1)} % of their output power` : '';
    const first = layers[0] as string;
    const together = layers.length > 1 ? ` (with ${layers.length - 1} layers that share its channels)` : '';
    return [{ layer: first, text: `${atoms.length} → ${atoms.length - gone} channels${together}${lost}` }];
  });
}

function costNote(model: Model, channels: Channels, removed: ReadonlySet<number>, unit: Unit): string {
  const cost = costOf(model, channels, unit);
  const before = cost.total();
  cost.remove(removed);
  const name = unit === 'macs' ? 'MACs' : unit;
  return `${name}: ${before} → ${cost.total()} (${((100 * cost.total()) / before).toFixed(1)} %)`;
}
