import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import { sparsegpt } from '../../numerics/sparsegpt.ts';
import { breathing } from '../../util/steps.ts';
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';
import { eachMatrix, gramOf, gramSites, siteMoments, type GramSites } from './columns.ts';
import { pruneInTurn } from './in_turn.ts';
import {
  dampingOption,
  perWeight,
  recordStrength,
  samplesOption,
  share,
  weightSelectors,
  withWeights,
  zerosNote,
  type PruneSite,
} from './masks.ts';

const options = z.strictObject({
  levels: perWeight(share, 'share of its weights to zero'),
  samples: samplesOption,
  scope: z
    .enum(['layer', 'row'])
    .default('layer')
    .meta({ description: 'whether outputs of a layer share its zeros freely or each has the same number' }),
  block: z.int().positive().default(128).meta({ description: 'inputs whose zeros are chosen at once' }),
  damping: dampingOption,
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
  strength: recordStrength('levels', 'sparsity'),
  apply,
};

async function apply(model: Model, o: SparseGptOptions, ctx: PassContext): Promise<PassResult> {
  const found = gramSites(model, Object.keys(o.levels));
  const { scope, block, damping } = o;
  const asked = ({ selector, name }: PruneSite) => ({
    share: o.levels[selector] ?? 0,
    scope,
    block,
    damping,
    at: name,
  });
  if (!o.refit) return updated(model, found, o.samples, ctx, asked);
  return pruneInTurn(
    ctx,
    model,
    found,
    o,
    ({ site }) =>
      function* (weights, shape, hessian) {
        return (yield* sparsegpt(weights, shape, hessian, asked(site))).mask;
      },
  );
}

/** As the paper has it: each weight that goes is made up for by the columns after it. */
async function updated(
  model: Model,
  { usable, skipped: left, notes }: GramSites,
  samples: number,
  ctx: PassContext,
  asked: (site: PruneSite) => Parameters<typeof sparsegpt>[3],
): Promise<PassResult> {
  const changed: Note[] = [];
  const skipped: Note[] = [...left];
  let current = model;
  for (const [i, usage] of usable.entries()) {
    const { site } = usage;
    ctx.signal.throwIfAborted();
    ctx.progress(i / usable.length, `pruning ${site.name}`);
    const { known, skipped: unfit } = await siteMoments(ctx, current, [usage], samples);
    skipped.push(...unfit);
    const gram = known[0]?.[1];
    if (!gram) continue;
    const steps = eachMatrix(usage, function* (matrix, shape, group) {
      return (yield* sparsegpt(matrix, shape, gramOf(gram, group), asked(site))).weights;
    });
    const data = await breathing(steps, {
      signal: ctx.signal,
      progress: (done) => ctx.progress((i + done) / usable.length, `pruning ${site.name}`),
    });
    current = withWeights(current, new Map([[site.name, data]]));
    changed.push(zerosNote(site, data));
  }
  return { model: current, changed, skipped, notes };
}
