import { sliceNorms } from '../../../numerics/sparsity.ts';
import { rankedPasses } from './ranked.ts';

/** Zeros the structures with the least √Σw². */
export const l2Ranked = rankedPasses({
  name: 'prune/structure/l2_ranked',
  classes: ['L2RankedStructureParameterPruner'],
  summary: 'zero the filters, channels or rows of least L2 norm',
  source: 'Distiller L2RankedStructureParameterPruner',
  norm: 'l2',
  rank: async ({ data, dims, axis }) => sliceNorms(data, dims, axis, 'l2'),
});
