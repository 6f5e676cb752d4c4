import { sliceNorms } from '../../../numerics/sparsity.ts';
import { rankedPasses } from './ranked.ts';

/** Zeros the structures with the least Σ|w|. */
export const l1Ranked = rankedPasses({
  name: 'prune/structure/l1_ranked',
  classes: ['L1RankedStructureParameterPruner'],
  summary: 'zero the filters, channels or rows of least L1 norm',
  source: 'Li et al. 2017, Pruning Filters for Efficient ConvNets (arXiv 1608.08710); Distiller',
  norm: 'l1',
  rank: async ({ data, dims, axis }) => sliceNorms(data, dims, axis, 'l1'),
});
