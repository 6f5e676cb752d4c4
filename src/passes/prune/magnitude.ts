import * as z from 'zod';
import { magnitudeMask } from '../../numerics/sparsity.ts';
import type { Pass } from '../pass.ts';
import { perWeight, pruneEach, recordStrength, weightSelectors } from './masks.ts';

const options = z.strictObject({
  thresholds: perWeight(z.number().min(0), 'largest magnitude that becomes zero'),
});

/** Zeros every weight whose magnitude is not above a threshold given by hand. */
export const magnitudePruner: Pass<z.infer<typeof options>> = {
  name: 'prune/magnitude',
  section: 'pruners',
  classes: ['MagnitudeParameterPruner'],
  summary: 'zero the weights of magnitude up to a threshold',
  source: 'Han et al. 2015 (arXiv 1506.02626); Distiller MagnitudeParameterPruner',
  options,
  selectors: (o) => weightSelectors('thresholds', o.thresholds),
  strength: recordStrength('thresholds', 'threshold'),
  apply: async (model, o) =>
    pruneEach(model, Object.keys(o.thresholds), (site) => magnitudeMask(site.data, o.thresholds[site.selector] ?? 0)),
};
