import { siteActivity } from './activity.ts';
import { rankedPasses } from './ranked.ts';

/** Zeros the filters whose activations are zero most often on calibration data (average percentage of zeros). */
export const activationApoz = rankedPasses({
  name: 'prune/structure/activation_apoz',
  classes: ['ActivationAPoZRankedFilterPruner'],
  summary: 'zero the filters whose activations are zero most often',
  source: 'Hu et al. 2016, Network Trimming (arXiv 1607.03250); Distiller',
  outputsOnly: true,
  rank: async (site, _options, ctx, model) => {
    const activity = await siteActivity(site, ctx, model);
    return typeof activity === 'string' ? activity : activity.active;
  },
});
