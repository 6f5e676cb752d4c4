import * as z from 'zod';
import { distinctLevels } from '../grid.ts';
import { meanMagnitude } from './binary.ts';
import type { Format } from './format.ts';
import { basesOption } from './options.ts';

const options = z.strictObject({ bases: basesOption(2) });

/**
 * ±a1 ± a2 … ± aM: a1 the mean magnitude of the weights, a2 that of what is left after sign(w)·a1, and so on. To the nearest of the sums, which is what the signs
 * in turn give, or better. No level is 0 unless the sums cancel.
 */
export const residual = {
  name: 'residual',
  summary: 'sums of M signs with a scale each, found one after the other',
  source: 'Guo et al. 2017, Network Sketching (arXiv 1706.02021), algorithm 1; Li et al. 2017, HORQ (1708.08687)',
  options,
  sharing: () => 'channel',
  notActivations: 'it is a format of weights; int is the like for activations',
  bits: ({ bases }) => bases,
  fit: (values, { bases }, { importance }) => {
    const rest = Float64Array.from(values);
    let levels = [0];
    for (let m = 0; m < bases; m++) {
      const a = meanMagnitude(rest, importance);
      for (let i = 0; i < rest.length; i++) rest[i]! -= rest[i]! < 0 ? -a : a;
      levels = levels.flatMap((sum) => [sum - a, sum + a]);
    }
    return { set: { levels: distinctLevels(levels) }, scale: 1 };
  },
} satisfies Format<z.infer<typeof options>>;
