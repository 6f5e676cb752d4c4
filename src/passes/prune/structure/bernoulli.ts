import { drawnScores } from './random.ts';
import { rankedPasses } from './ranked.ts';

/**
 * Zeros each structure with probability `desired_sparsity`. While training, with masks on the forward pass
 * alone, it draws anew whenever masks are found, and the output is divided by the share that stays; else there is one draw. One structure at least stays.
 */
export const bernoulli = rankedPasses({
  name: 'prune/structure/bernoulli',
  classes: ['BernoulliFilterPruner'],
  summary: 'zero each filter with a given probability',
  source: 'Distiller BernoulliFilterPruner',
  rank: drawnScores,
  compensates: true,
  choose: (scores, sparsity) => {
    const gone = new Set(Array.from(scores, (_, i) => i).filter((i) => scores[i]! < sparsity));
    if (gone.size === scores.length && sparsity < 1) gone.delete(scores.length - 1);
    return gone;
  },
});
