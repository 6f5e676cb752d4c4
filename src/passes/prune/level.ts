import * as z from 'zod';
import { levelMask } from '../../numerics/sparsity.ts';
import type { Pass } from '../pass.ts';
import { perWeight, pruneEach, recordStrength, share, weightSelectors } from './masks.ts';

const options = z.strictObject({ levels: perWeight(share, 'share of its weights to zero') });

/** Zeros the given share of each weight tensor, the elements of smallest magnitude first; exactly round(share · n) of them. */
export const levelPruner: Pass<z.infer<typeof options>> = {
  name: 'prune/level',
  section: 'pruners',
  classes: ['SparsityLevelParameterPruner'],
  summary: 'zero the smallest share of each weight tensor',
  source: 'Han et al. 2015 (arXiv 1506.02626); Distiller SparsityLevelParameterPruner',
  options,
  inBodies: {},
  selectors: (o) => weightSelectors('levels', o.levels),
  strength: recordStrength('levels', 'sparsity'),
  apply: async (model, o) =>
    pruneEach(model, Object.keys(o.levels), (site) => levelMask(site.data, o.levels[site.selector] ?? 0, site.name)),
};
