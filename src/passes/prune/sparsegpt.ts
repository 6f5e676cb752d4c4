import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import { sparsegpt } from '../../numerics/sparsegpt.ts';
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';
import type { Moments } from '../moments.ts';
import { eachMatrix, gramSites, siteMoments, type GramSite } from './columns.ts';
import { pruneInTurn } from './in_turn.ts';
import { levelStrength, pruneSites, weightSelectors, withWeights, zerosNote, type PruneSite } from './masks.ts';

const options = z.strictObject({
  levels: z
    .record(z.string(), z.number().min(0).max(1))
    .meta({ description: "weight name or pattern → share of its weights to zero; '*' = all others" }),
  samples: z.int().positive().default(512).meta({ description: 'calibration samples' }),
  scope: z
    .enum(['layer', 'row'])
    .default('layer')
    .meta({ description: 'whether outputs of a layer share its zeros freely or each has the same number' }),
  block: z.int().positive().default(128).meta({ description: 'inputs whose zeros are chosen at once' }),
  damping: z
    .number()
    .positive()
    .default(0.01)
    .meta({ description: "share of the Hessian's mean diagonal added to it" }),
  refit: z
    .boolean()
    .default(true)
    .meta({ description: "refit all that is left, and the bias, to the unpruned model's output; false = the paper" }),
});

export type SparseGptOptions = z.infer<typeof options>;

/**
 * Zeros the weights whose loss the others can best make up for, and updates the others so that the layer's output on
 * calibration data changes least. Layer by layer, front to back, each on the inputs that the layers pruned before it give. Where
 * the paper makes up for a weight by those that come after it, `refit` solves for all that are left together.
 */
export const sparseGptPruner: Pass<SparseGptOptions> = {
  name: 'prune/sparsegpt',
  section: 'pruners',
  classes: ['SparseGptPruner'],
  summary: 'zero weights and update the others to keep the layer output',
  source: 'Frantar and Alistarh 2023, SparseGPT (arXiv 2301.00774)',
  options,
  selectors: (o) => weightSelectors('levels', o.levels),
  strength: levelStrength<SparseGptOptions>(),
  apply,
};

async function apply(model: Model, o: SparseGptOptions, ctx: PassContext): Promise<PassResult> {
  const { sites, skipped, notes } = pruneSites(model, Object.keys(o.levels));
  const { usable, skipped: unseen } = gramSites(model, sites);
  const { scope, block, damping } = o;
  const asked = ({ selector, name }: PruneSite) => ({
    share: o.levels[selector] ?? 0,
    scope,
    block,
    damping,
    at: name,
  });
  const {
    model: pruned,
    changed,
    skipped: unsolved,
  } = o.refit
    ? await pruneInTurn(
        ctx,
        model,
        usable,
        o,
        ({ site }) =>
          (weights, shape, hessian) =>
            sparsegpt(weights, shape, hessian, asked(site)).mask,
      )
    : await updated(model, usable, o.samples, ctx, asked);
  return { model: pruned, changed, skipped: [...skipped, ...unseen, ...unsolved], notes };
}

/** As the paper has it: each weight that goes is made up for by the columns after it. */
async function updated(
  model: Model,
  usable: readonly GramSite[],
  samples: number,
  ctx: PassContext,
  asked: (site: PruneSite) => Parameters<typeof sparsegpt>[3],
): ReturnType<typeof pruneInTurn> {
  const changed: Note[] = [];
  let current = model;
  for (const [i, usage] of usable.entries()) {
    const { site } = usage;
    ctx.signal.throwIfAborted();
    ctx.progress(i / usable.length, `pruning ${site.name}`);
    const [gram] = (await siteMoments(ctx, current, [usage], samples)) as [Moments];
    const { size } = gram;
    const data = eachMatrix(usage, (matrix, shape, group) => {
      const hessian = gram.gram.slice(group * size * size, (group + 1) * size * size);
      return sparsegpt(matrix, shape, hessian, asked(site)).weights;
    });
    current = withWeights(current, new Map([[site.name, data]]));
    changed.push(zerosNote(site, data));
  }
  return { model: current, changed, skipped: [] };
}
