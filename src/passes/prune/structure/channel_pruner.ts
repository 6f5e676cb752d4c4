import * as z from 'zod';
import { channelGroups, leaveOne, removeChannels, type ChannelGroup, type Channels } from '../../../graph/channels.ts';
import type { Model } from '../../../graph/model.ts';
import { assignNames, layerFacts } from '../../../graph/names.ts';
import { cubicRamp, rampProgress } from '../../../numerics/agp.ts';
import type { Note, Pass, PassContext, PassResult } from '../../pass.ts';
import { scaled, share, spanText, weightSelectors, type Left } from '../masks.ts';
import { allocate, allocateUniform, cutTo, type Candidate } from './allocate.ts';
import { candidatesOf, cohorts, type Priced } from './candidates.ts';
import { budget, budgetOf, budgetText, firstCost, scaledBudget, type Budget } from './budget.ts';
import { costOf, cutText } from './cost.ts';
import { reconstruct } from './reconstruct.ts';
import { channelScores } from './scores.ts';
import { refitSites } from './sites.ts';

const fields = z.strictObject({
  budget: budget.optional(),
  levels: z
    .record(z.string(), share)
    .optional()
    .meta({ description: 'instead of a budget: layer name or pattern → share of its channels to cut' }),
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
const options = fields.refine((o) => (o.budget === undefined) !== (o.levels === undefined), {
  message: 'give either a budget for the model or levels for its layers',
  path: ['budget'],
});

type ChannelPrunerOptions = z.infer<typeof options>;

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
  selectors: (o) => (o.levels ? weightSelectors('levels', o.levels) : weightSelectors('weights', o.weights)),
  strength: {
    at: (o, t) => ({
      ...o,
      ...(o.budget ? { budget: scaledBudget(o.budget, t) } : {}),
      ...(o.levels ? { levels: scaled(o.levels, t) } : {}),
    }),
    describe: (o) =>
      o.budget ? budgetText(o.budget) : `${spanText(Object.values(o.levels ?? {}))} of each layer's channels cut`,
  },
  apply,
};

interface Task {
  readonly model: Model;
  readonly channels: Channels;
  readonly o: ChannelPrunerOptions;
  readonly ctx: PassContext;
}

async function apply(model: Model, o: ChannelPrunerOptions, ctx: PassContext): Promise<PassResult> {
  const channels = channelGroups(model, await ctx.shapes(model));
  const task: Task = { model, channels, o, ctx };
  const chosen = chosenGroups(task);
  const { candidates, skipped } = await priced(task, chosen.groups);
  const picked = o.budget ? withinBudget(task, candidates, o.budget) : byLevels(chosen, candidates, o.multiple);
  const order = candidates.flatMap((candidate) => candidate.order.filter((atom) => picked.has(atom)));
  const removed = leaveOne(channels, order);
  const cut = removeChannels(model, channels, removed);
  const readers = refitSites(model, channels).filter((site) => site.columns.some((atom) => removed.has(atom)));
  const layers = new Set(readers.map((site) => site.layer));
  const { model: result, notes: refitted } = o.reconstruct
    ? await reconstruct(ctx, { before: model, channels, removed, after: cut }, layers, o)
    : { model: cut, notes: [] };
  return {
    model: result,
    changed: [...cutNotes(chosen.groups, candidates, removed), ...refitted],
    skipped: [...channels.frozen.map(({ layer, text }) => ({ layer, text })), ...chosen.skipped, ...skipped],
    notes: [
      ...chosen.notes,
      ...(['macs', 'parameters', 'bytes', 'energy'] as const).map((u) => cutText(model, channels, removed, u)),
    ],
  };
}

function withinBudget({ model, channels, o, ctx }: Task, candidates: readonly Candidate[], asked: Budget): Set<number> {
  const [unit, final] = budgetOf(asked);
  const { epoch, start: first, end, frequency } = ctx.clock;
  // Over several epochs the budget falls along Zhu & Gupta's ramp.
  const left = cubicRamp(1, final, rampProgress(epoch, first, end, frequency));
  const start = firstCost(ctx, unit, costOf(model, channels, unit).total());
  const allot = o.allocation === 'uniform' ? allocateUniform : allocate;
  return allot(candidates, costOf(model, channels, unit), left * start, o.multiple);
}

/** The share of each group that the first of its layers is given; the same of all its parts. */
function byLevels({ groups, levels }: Chosen, candidates: readonly Candidate[], multiple: number): Set<number> {
  const gone = new Map(
    groups.flatMap(({ atoms, layers }) => atoms.map((atom) => [atom, levels.get(layers[0] ?? '') ?? 0])),
  );
  return new Set(
    candidates.flatMap(({ order, guarded }) => {
      const left = order.length * (1 - (gone.get(order[0]!) ?? 0));
      return cutTo({ order, guarded }, Number(left.toFixed(6)), multiple);
    }),
  );
}

/** The groups all of whose layers the selectors name, and the levels of layers. */
interface Chosen extends Left {
  readonly groups: readonly ChannelGroup[];
  readonly levels: ReadonlyMap<string, number>;
}

function chosenGroups({ model, channels, o }: Task): Chosen {
  const named = o.levels ? Object.keys(o.levels) : o.weights;
  const { nodes, notes } = assignNames(named, layerFacts(model), 'weights');
  const levels = new Map([...nodes].map(([node, selector]) => [node, o.levels?.[selector] ?? 0]));
  const skipped: Note[] = [];
  const groups = channels.groups.filter((group) => {
    const text = !(o.levels ? nodes.has(group.layers[0] ?? '') : group.layers.every((layer) => nodes.has(layer)))
      ? 'left alone: no entry of the pruner names it, or not all layers that share its channels'
      : !o.residual && group.layers.length > 1
        ? `left alone: ${group.layers.length} layers make its channels together, and residual is off`
        : undefined;
    if (text) skipped.push(...group.layers.map((layer) => ({ layer, text })));
    return !text;
  });
  return { groups, levels, skipped, notes };
}

async function priced({ model, channels, o, ctx }: Task, groups: readonly ChannelGroup[]): Promise<Priced> {
  const scores =
    o.criterion === 'reconstruction' ? undefined : await channelScores(model, channels, o.criterion, o, ctx);
  if (scores && o.allocation === 'uniform' && !o.reconstruct) {
    const candidates = groups.flatMap(({ atoms }) => {
      const order = [...atoms].sort((a, b) => (scores.get(a) ?? 0) - (scores.get(b) ?? 0));
      return cohorts(channels, { order, damage: [0, ...order.map(() => 0)] }, 1);
    });
    return { candidates, skipped: [] };
  }
  const probe = o.budget !== undefined && o.allocation === 'measured';
  return candidatesOf(ctx, model, channels, groups, { samples: o.samples, ridge: o.ridge, scores, probe });
}

function cutNotes(
  groups: readonly ChannelGroup[],
  candidates: readonly Candidate[],
  removed: ReadonlySet<number>,
): Note[] {
  return groups.flatMap(({ layers, atoms }) => {
    const gone = atoms.filter((atom) => removed.has(atom)).length;
    if (gone === 0) return [];
    const damage = candidates
      .filter(({ order }) => atoms.includes(order[0]!))
      .reduce((sum, part) => sum + (part.damage[part.order.filter((atom) => removed.has(atom)).length] as number), 0);
    const lost = damage > 0 ? `; its readers lose ${(100 * damage).toFixed(1)} % of their output power` : '';
    const together = layers.length > 1 ? ` (with ${layers.length - 1} layers that share its channels)` : '';
    return [
      { layer: layers[0] as string, text: `${atoms.length} → ${atoms.length - gone} channels${together}${lost}` },
    ];
  });
}
