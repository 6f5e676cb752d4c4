import { siteActivity } from './activity.ts';
import { rankedPasses } from './ranked.ts';

/** Zeros the filters whose activations have the least mean on calibration data. */
export const activationMean = rankedPasses({
  name: 'prune/structure/activation_mean',
  classes: ['ActivationMeanRankedFilterPruner'],
  summary: 'zero the filters whose activations have the least mean',
  source: 'Molchanov et al. 2017 (arXiv 1611.06440), mean activation; Distiller',
  outputsOnly: true,
  rank: async (site, _options, ctx, model) => {
    const activity = await siteActivity(site, ctx, model);
    return typeof activity === 'string' ? activity : activity.mean;
  },
});
