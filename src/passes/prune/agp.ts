import * as z from 'zod';
import { levelMask } from '../../numerics/sparsity.ts';
import type { Pass } from '../pass.ts';
import { pruneEach, rampedSparsity, share, weightNames, weightSelectors } from './masks.ts';

const options = z
  .strictObject({
    initial_sparsity: share.meta({ description: 'share of zeros at the first epoch of the policy' }),
    final_sparsity: share.meta({ description: 'share of zeros at its last epoch' }),
    weights: weightNames,
  })
  .refine((o) => o.initial_sparsity <= o.final_sparsity, {
    message: 'must not be below initial_sparsity: a ramp only prunes more',
    path: ['final_sparsity'],
  });

/** Level pruning whose share grows with the epochs of its policy, fast at first, and reaches the final one at the last of them. */
export const agpPruner: Pass<z.infer<typeof options>> = {
  name: 'prune/agp',
  section: 'pruners',
  classes: ['AutomatedGradualPruner'],
  summary: 'zero a share of each weight tensor that grows from epoch to epoch',
  source: 'Zhu and Gupta 2017, To prune, or not to prune (arXiv 1710.01878); Distiller AutomatedGradualPruner',
  options,
  selectors: (o) => weightSelectors('weights', o.weights),
  strength: {
    at: (o, t) => ({ ...o, initial_sparsity: o.initial_sparsity * t, final_sparsity: o.final_sparsity * t }),
    describe: (o) => `final sparsity ${o.final_sparsity.toFixed(2)}`,
  },
  apply: async (model, o, ctx) => {
    const target = rampedSparsity(o, ctx);
    const result = pruneEach(model, o.weights, (site) => levelMask(site.data, target, site.name));
    return { ...result, notes: [`sparsity ${target.toFixed(4)} at epoch ${ctx.clock.epoch}`, ...(result.notes ?? [])] };
  },
};
