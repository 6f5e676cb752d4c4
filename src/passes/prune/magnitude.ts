import * as z from 'zod';
import { magnitudeMask } from '../../numerics/sparsity.ts';
import type { Pass } from '../pass.ts';
import { pruneEach, scaled, spanText, weightSelectors } from './masks.ts';

const options = z.strictObject({
  thresholds: z
    .record(z.string(), z.number().min(0))
    .meta({ description: "weight name or pattern → largest magnitude that becomes zero; '*' = all others" }),
});

export type MagnitudeOptions = z.infer<typeof options>;

/** Zeros every weight whose magnitude is not above a threshold given by hand. */
export const magnitudePruner: Pass<MagnitudeOptions> = {
  name: 'prune/magnitude',
  section: 'pruners',
  classes: ['MagnitudeParameterPruner'],
  summary: 'zero the weights of magnitude up to a threshold',
  source: 'Han et al. 2015 (arXiv 1506.02626); Distiller MagnitudeParameterPruner',
  options,
  selectors: (o) => weightSelectors('thresholds', o.thresholds),
  strength: {
    at: (o, t) => ({ thresholds: scaled(o.thresholds, t) }),
    describe: (o) => `threshold ${spanText(Object.values(o.thresholds))}`,
  },
  apply: (model, o) =>
    Promise.resolve(
      pruneEach(model, Object.keys(o.thresholds), (site) => magnitudeMask(site.data, o.thresholds[site.selector] ?? 0)),
    ),
};
