import * as z from 'zod';
import { magnitudeMask, standardDeviation } from '../../numerics/sparsity.ts';
import type { Pass } from '../pass.ts';
import { perWeight, pruneEach, recordStrength, weightSelectors, type PruneSite } from './masks.ts';

const options = z.strictObject({
  sensitivities: perWeight(z.number().min(0), 'threshold in standard deviations of the tensor'),
});

export type SensitivityOptions = z.infer<typeof options>;

/**
 * Zeros every weight whose magnitude is not above s·σ. σ is the tensor's standard deviation when this pruner first sees it:
 * later epochs keep it, or their own zeros would lower it.
 */
export const sensitivityPruner: Pass<SensitivityOptions> = {
  name: 'prune/sensitivity',
  section: 'pruners',
  classes: ['SensitivityPruner'],
  summary: 'zero the weights within a multiple of their standard deviation',
  source: 'Han et al. 2015 (arXiv 1506.02626); Distiller SensitivityPruner',
  options,
  selectors: (o) => weightSelectors('sensitivities', o.sensitivities),
  strength: recordStrength('sensitivities', 'sensitivity'),
  apply: async (model, o, { memory }) => {
    const sigmaOf = (site: PruneSite): number => {
      const known = memory.get(site.name);
      if (typeof known === 'number') return known;
      const sigma = standardDeviation(site.data);
      memory.set(site.name, sigma);
      return sigma;
    };
    const threshold = (site: PruneSite) => (o.sensitivities[site.selector] ?? 0) * sigmaOf(site);
    return pruneEach(
      model,
      Object.keys(o.sensitivities),
      (site) => magnitudeMask(site.data, threshold(site)),
      (site) => `, threshold ${threshold(site).toPrecision(3)}`,
    );
  },
};
