import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import { applyMask } from '../../numerics/sparsity.ts';
import { wandaMask } from '../../numerics/wanda.ts';
import type { LayerGram } from '../gram.ts';
import type { Pass, PassContext, PassResult } from '../pass.ts';
import { columnNorms, eachMatrix, gramSites, siteGrams } from './columns.ts';
import { pruneSites, scaled, spanText, withWeights, zerosNote } from './masks.ts';

const options = z.strictObject({
  levels: z
    .record(z.string(), z.number().min(0).max(1))
    .meta({ description: "weight name or pattern → share of each output's weights to zero; '*' = all others" }),
  samples: z.int().positive().default(256).meta({ description: 'calibration samples' }),
});

export type WandaOptions = z.infer<typeof options>;

/** Zeros, for every output of a layer, the share of weights with the least |w|·‖x‖ on calibration data. Nothing else changes. */
export const wandaPruner: Pass<WandaOptions> = {
  name: 'prune/wanda',
  section: 'pruners',
  classes: ['WandaPruner'],
  summary: 'zero the weights that matter least for the inputs they meet',
  source: 'Sun et al. 2023, A Simple and Effective Pruning Approach for Large Language Models (arXiv 2306.11695)',
  options,
  selectors: (o) => Object.keys(o.levels).map((pattern) => ({ pattern, path: ['levels', pattern], over: 'weights' })),
  strength: {
    at: (o, t) => ({ ...o, levels: scaled(o.levels, t) }),
    describe: (o) => `sparsity ${spanText(Object.values(o.levels))}`,
  },
  apply,
};

async function apply(model: Model, o: WandaOptions, ctx: PassContext): Promise<PassResult> {
  const { sites, skipped, notes } = pruneSites(model, Object.keys(o.levels));
  const { usable, skipped: unseen } = gramSites(model, sites);
  const grams = await siteGrams(ctx, model, usable, o.samples);
  const pruned = usable.map((usage, i) => {
    const { site } = usage;
    const gram = grams[i] as LayerGram;
    const keep = { share: o.levels[site.selector] ?? 0 };
    const data = eachMatrix(usage, gram, (matrix, shape, group) =>
      applyMask(matrix, wandaMask(matrix, shape, columnNorms(gram, group), keep, site.name)),
    );
    return { site, data };
  });
  return {
    model: withWeights(model, new Map(pruned.map(({ site, data }) => [site.name, data]))),
    changed: pruned.map(({ site, data }) => zerosNote(site, data)),
    skipped: [...skipped, ...unseen],
    notes,
  };
}
