import * as z from 'zod';
import { levelMask } from '../../numerics/sparsity.ts';
import type { Pass } from '../pass.ts';
import { levelStrength, pruneEach, weightSelectors } from './masks.ts';

const share = z.number().min(0).max(1);
const options = z.strictObject({
  levels: z
    .record(z.string(), share)
    .meta({ description: "weight name or pattern → share of its weights to zero; '*' = all others" }),
});

export type LevelOptions = z.infer<typeof options>;

/** Zeros the given share of each weight tensor, the elements of smallest magnitude first; exactly round(share · n) of them. */
export const levelPruner: Pass<LevelOptions> = {
  name: 'prune/level',
  section: 'pruners',
  classes: ['SparsityLevelParameterPruner'],
  summary: 'zero the smallest share of each weight tensor',
  source: 'Han et al. 2015 (arXiv 1506.02626); Distiller SparsityLevelParameterPruner',
  options,
  selectors: (o) => weightSelectors('levels', o.levels),
  strength: levelStrength<LevelOptions>(),
  apply: (model, o) =>
    Promise.resolve(
      pruneEach(model, Object.keys(o.levels), (site) => levelMask(site.data, o.levels[site.selector] ?? 0, site.name)),
    ),
};
