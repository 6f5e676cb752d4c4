import { randomScores } from './random.ts';
import { rankedPasses } from './ranked.ts';

/** Zeros structures at random: the baseline that a ranking has to beat. */
export const randomRanked = rankedPasses({
  name: 'prune/structure/random_ranked',
  classes: ['RandomRankedFilterPruner'],
  summary: 'zero filters at random, the baseline of every ranking',
  source: 'Distiller RandomRankedFilterPruner',
  rank: randomScores,
});
