import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import { applyMask, levelMask } from '../../numerics/sparsity.ts';
import { wandaMask, wandaScores } from '../../numerics/wanda.ts';
import { finished } from '../../util/steps.ts';
import type { Pass, PassContext, PassResult } from '../pass.ts';
import { eachMatrix, gramOf, gramSites, siteMoments, type GramSite } from './columns.ts';
import { pruneInTurn } from './in_turn.ts';
import { perWeight, prunedResult, recordStrength, samplesOption, share, weightSelectors } from './masks.ts';
import type { ChooseMask } from './refit.ts';

const options = z.strictObject({
  levels: perWeight(share, "share of each output's weights to zero"),
  samples: samplesOption,
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
  strength: recordStrength('levels', 'sparsity'),
  apply,
};

async function apply(model: Model, o: WandaOptions, ctx: PassContext): Promise<PassResult> {
  const found = gramSites(model, Object.keys(o.levels));
  const chooseFor = ({ site }: GramSite): ChooseMask => {
    const share = o.levels[site.selector] ?? 0;
    return function* (matrix, shape, hessian) {
      yield 0;
      const size = shape[1];
      const norms = Float64Array.from({ length: size }, (_, k) => Math.sqrt(hessian[k * size + k]!));
      return o.scope === 'row'
        ? wandaMask(matrix, shape, norms, { share }, site.name)
        : levelMask(wandaScores(matrix, size, norms), share, site.name);
    };
  };
  if (o.refit) return pruneInTurn(ctx, model, found, o, chooseFor);
  const { known, skipped } = await siteMoments(ctx, model, found.usable, o.samples);
  const pruned = known.map(([usage, gram]) => {
    const choose = chooseFor(usage);
    const steps = eachMatrix(usage, function* (matrix, shape, group) {
      return applyMask(matrix, yield* choose(matrix, shape, gramOf(gram, group), group));
    });
    const data = finished(steps);
    return { site: usage.site, data };
  });
  return prunedResult(model, pruned, { ...found, skipped: [...found.skipped, ...skipped] });
}
