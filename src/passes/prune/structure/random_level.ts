import * as z from 'zod';
import { sliceNorms } from '../../../numerics/sparsity.ts';
import type { Pass } from '../../pass.ts';
import { seeded } from './random.ts';
import { groupTypes, structureNote, structureSites, structuresToPrune, weakest, zeroStructures } from './structures.ts';
import { share, weightNames, weightSelectors } from '../masks.ts';

const options = z.strictObject({
  group_type: z.enum(groupTypes).default('Filters'),
  sparsity_range: z.tuple([share, share]).refine(([low, high]) => low <= high, 'must be [low, high]'),
  weights: weightNames,
  group_dependency: z.enum(['Leader']).nullish(),
  kwargs: z.null().optional(),
  seed: z.int().min(0).default(0),
});
/** Zeros the weakest structures (L1) of each weight, their share drawn at random from a range for each. */
export const randomLevel: Pass<z.infer<typeof options>> = {
  name: 'prune/structure/random_level',
  section: 'pruners',
  classes: ['RandomLevelStructureParameterPruner'],
  summary: 'zero a random share of the weakest filters of each layer',
  source: 'Distiller RandomLevelStructureParameterPruner',
  options,
  selectors: (o) => weightSelectors('weights', o.weights),
  strength: {
    at: (o, t) => ({ ...o, sparsity_range: [o.sparsity_range[0] * t, o.sparsity_range[1] * t] }),
    describe: (o) => `sparsity ${o.sparsity_range.map((s) => s.toFixed(2)).join(' to ')}`,
  },
  apply: async (model, o) => {
    const { sites, skipped, notes } = structureSites(model, o.weights, o.group_type);
    const [low, high] = o.sparsity_range;
    const zeros = new Map(
      sites.map((site, i) => {
        const leads = o.group_dependency === 'Leader' && i > 0 ? (sites[0] ?? site) : site;
        const level = low + (high - low) * seeded(o.seed + leads.layer.index)();
        const scores = sliceNorms(leads.data, leads.dims, leads.axis, 'l1');
        return [site, weakest(scores, Math.min(site.count, structuresToPrune(leads.count, level)))] as const;
      }),
    );
    const changed = [...zeros].map(([site, gone]) => structureNote(site, o.group_type, gone.size));
    return { model: zeroStructures(model, zeros), changed, skipped, notes };
  },
};
