import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import { applyMask, levelMask } from '../../numerics/sparsity.ts';
import type { Pass, PassContext, PassResult } from '../pass.ts';
import { pruneSites, withWeights, zerosNote } from './masks.ts';

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
  selectors: (o) => Object.keys(o.levels).map((pattern) => ({ pattern, path: ['levels', pattern], over: 'weights' })),
  strength: {
    at: (o, t) => ({ levels: Object.fromEntries(Object.entries(o.levels).map(([name, level]) => [name, level * t])) }),
    describe: (o) => {
      const levels = Object.values(o.levels);
      const [low, high] = [Math.min(...levels), Math.max(...levels)].map((v) => v.toFixed(2));
      return low === high ? `sparsity ${low}` : `sparsity ${low} to ${high}`;
    },
  },
  apply,
};

async function apply(model: Model, o: LevelOptions, _ctx: PassContext): Promise<PassResult> {
  const { sites, skipped, notes } = pruneSites(model, Object.keys(o.levels));
  const pruned = sites.map((site) => ({
    site,
    data: applyMask(site.data, levelMask(site.data, o.levels[site.selector] ?? 0, site.name)),
  }));
  return {
    model: withWeights(model, new Map(pruned.map(({ site, data }) => [site.name, data]))),
    changed: pruned.map(({ site, data }) => zerosNote(site, data)),
    skipped,
    notes,
  };
}
