import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import { applyMask, levelMask, type Mask } from '../../numerics/sparsity.ts';
import { wandaMask, wandaScores } from '../../numerics/wanda.ts';
import type { Moments } from '../moments.ts';
import type { Pass, PassContext, PassResult } from '../pass.ts';
import { columnNorms, eachMatrix, gramSites, siteMoments } from './columns.ts';
import { pruneInTurn } from './in_turn.ts';
import { levelStrength, pruneSites, weightSelectors, withWeights, zerosNote, type PruneSite } from './masks.ts';

const options = z.strictObject({
  levels: z
    .record(z.string(), z.number().min(0).max(1))
    .meta({ description: "weight name or pattern → share of each output's weights to zero; '*' = all others" }),
  samples: z.int().positive().default(512).meta({ description: 'calibration samples' }),
  scope: z.enum(['layer', 'row']).default('layer').meta({
    description: 'whether the outputs of a layer share its zeros freely or each has the same number, as in the paper',
  }),
  refit: z.boolean().default(true).meta({
    description:
      "refit what is left, and the bias, to the unpruned model's output; false = nothing else changes, as in the paper",
  }),
  damping: z.number().positive().default(0.01).meta({ description: 'pull of the refit towards the old weights' }),
});

export type WandaOptions = z.infer<typeof options>;

/** Zeros the share of weights with the least |w|·‖x‖ on calibration data, and refits the others. */
export const wandaPruner: Pass<WandaOptions> = {
  name: 'prune/wanda',
  section: 'pruners',
  classes: ['WandaPruner'],
  summary: 'zero the weights that matter least for the inputs they meet',
  source: 'Sun et al. 2023, A Simple and Effective Pruning Approach for Large Language Models (arXiv 2306.11695)',
  options,
  selectors: (o) => weightSelectors('levels', o.levels),
  strength: levelStrength<WandaOptions>(),
  apply,
};

async function apply(model: Model, o: WandaOptions, ctx: PassContext): Promise<PassResult> {
  const { sites, skipped, notes } = pruneSites(model, Object.keys(o.levels));
  const { usable, skipped: unseen } = gramSites(model, sites);
  const cut = (matrix: Float32Array, shape: readonly [number, number], norms: Float64Array, site: PruneSite): Mask => {
    const share = o.levels[site.selector] ?? 0;
    return o.scope === 'row'
      ? wandaMask(matrix, shape, norms, { share }, site.name)
      : levelMask(wandaScores(matrix, shape[1], norms), share, site.name);
  };
  if (o.refit) {
    const {
      model: refitted,
      changed,
      skipped: unsolved,
    } = await pruneInTurn(
      ctx,
      model,
      usable,
      o,
      ({ site }) =>
        (weights, shape, hessian) =>
          cut(
            weights,
            shape,
            Float64Array.from({ length: shape[1] }, (_, k) => Math.sqrt(hessian[k * shape[1] + k] as number)),
            site,
          ),
    );
    return { model: refitted, changed, skipped: [...skipped, ...unseen, ...unsolved], notes };
  }
  const grams = await siteMoments(ctx, model, usable, o.samples);
  const pruned = usable.map((usage, i) => {
    const { site } = usage;
    const gram = grams[i] as Moments;
    const data = eachMatrix(usage, (matrix, shape, group) =>
      applyMask(matrix, cut(matrix, shape, columnNorms(gram, group), site)),
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
