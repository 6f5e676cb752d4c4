import * as z from 'zod';
import { channelGroups } from '../../../graph/channels.ts';
import type { Model } from '../../../graph/model.ts';
import { layerName } from '../../../graph/query.ts';
import type { Shapes } from '../../../graph/shapes.ts';
import { QtoolError } from '../../../util/error.ts';
import type { Note, Pass, PassContext, PassResult } from '../../pass.ts';
import { channelStatistics, notFiniteText } from '../../channel_statistics.ts';
import { activityIn } from './activity.ts';
import { channelAxis, residualBranches, withoutBranch, type Branch } from './branches.ts';
import { budget, budgetOf, budgetText, firstCost, scaledBudget } from './budget.ts';
import { costOf, costText, type Unit } from './cost.ts';
import { outputError } from './probe.ts';
import { reconstruct } from './reconstruct.ts';
import { refitSites } from './sites.ts';

const options = z.strictObject({
  budget,
  reconstruct: z.boolean().default(true).meta({ description: 'refit the layers behind the first block that went' }),
  samples: z.int().min(1).default(512),
  ridge: z.number().min(0).default(1e-3),
});
type Options = z.infer<typeof options>;

/**
 * Leaves out whole residual blocks, the one first without which the outputs move least for what it saves, measured anew after
 * each, until the budget holds. The mean of what a block added stays, and the layers behind are refitted.
 */
export const blockPruner: Pass<Options> = {
  name: 'prune/structure/block_pruner',
  section: 'pruners',
  classes: ['ResidualBlockPruner'],
  summary: 'leave out whole residual blocks down to a budget and refit the layers behind',
  source: 'Veit et al. 2016 (arXiv 1605.06431): residual networks survive the loss of single blocks',
  options,
  strength: {
    at: (o, t) => ({ ...o, budget: scaledBudget(o.budget, t) }),
    describe: (o) => budgetText(o.budget),
  },
  apply,
};

async function apply(model: Model, o: Options, ctx: PassContext): Promise<PassResult> {
  const shapes = await ctx.shapes(model);
  const [unit, left] = budgetOf(o.budget);
  const start = firstCost(ctx, unit, costIn(model, shapes, unit));
  const changed: Note[] = [];
  const unfit = new Map<string, Note>();
  let result = model;
  while (costIn(result, shapes, unit) > left * start) {
    const next = await leastHarmful(result, model, shapes, unit, o, ctx, unfit);
    if (!next)
      throw new QtoolError('schedule', 'the budget cannot be met: no residual block is left to leave out', {
        hint: 'raise the budget',
      });
    result = next.model;
    changed.push({
      layer: layerName(next.branch.add),
      text: `left out ${next.branch.layers.join(', ')}; the outputs are then ${(100 * next.error).toFixed(1)} % of their power off`,
    });
    ctx.progress(
      0.5 * Math.min(1, (start - costIn(result, shapes, unit)) / ((1 - left) * start)),
      'leaving out blocks',
    );
  }
  const channels = channelGroups(model, shapes);
  const behind = layersBehind(model, result, shapes);
  const { model: refitted, notes } = o.reconstruct
    ? await reconstruct(ctx, { before: model, channels, removed: new Set(), after: result }, behind, o)
    : { model: result, notes: [] };
  const text = (u: Unit): string => costText(u, costIn(model, shapes, u), costIn(result, shapes, u));
  return {
    model: refitted,
    changed: [...changed, ...notes],
    skipped: [...unfit.values()],
    notes: [text('macs'), text('parameters'), text('energy')],
  };
}

const costIn = (model: Model, shapes: Shapes, unit: Unit): number =>
  costOf(model, channelGroups(model, shapes), unit).total();

async function leastHarmful(
  model: Model,
  float: Model,
  shapes: Shapes,
  unit: Unit,
  o: Options,
  ctx: PassContext,
  unfit: Map<string, Note>,
): Promise<{ model: Model; branch: Branch; error: number } | undefined> {
  const branches = residualBranches(model, channelGroups(model, shapes));
  const dimsOf = ({ value }: Branch): readonly number[] => shapes.get(value)?.dims ?? [];
  const axes = new Map(branches.map((b) => [b.value, channelAxis(dimsOf(b))]));
  const found = await channelStatistics(ctx, model, axes, o.samples);
  const now = costIn(model, shapes, unit);
  let best: { model: Model; branch: Branch; error: number; slope: number } | undefined;
  for (const branch of branches) {
    const stats = found.get(branch.value);
    if (!stats) {
      const layer = layerName(branch.add);
      unfit.set(layer, { layer, text: notFiniteText(branch.value) });
      continue;
    }
    const candidate = withoutBranch(model, branch, activityIn(stats).mean, dimsOf(branch));
    const saved = now - costIn(candidate, shapes, unit);
    if (saved <= 0) continue;
    const error = await outputError(ctx, candidate, float, Math.min(256, o.samples));
    if (!best || error / saved < best.slope) best = { model: candidate, branch, error, slope: error / saved };
  }
  return best;
}

/** Layers from the first one on whose input is not what it was. */
function layersBehind(before: Model, after: Model, shapes: Shapes): Set<string> {
  const kept = new Set(after.graph.node.map(layerName));
  const gone = before.graph.node.findIndex((node) => !kept.has(layerName(node)));
  const late = new Set(before.graph.node.slice(Math.max(0, gone)).map(layerName));
  const sites = refitSites(after, channelGroups(after, shapes));
  return new Set(sites.filter((site) => gone >= 0 && late.has(site.layer)).map((site) => site.layer));
}
