import * as z from 'zod';
import { kMeans, kMeansStarts, type KMeansStart } from '../kmeans.ts';
import type { Format } from './format.ts';
import { bitsOption, described, seedOption } from './options.ts';

const options = z.strictObject({
  bits: bitsOption(1, 8, 4).meta({ description: 'bits of a code: a codebook has 2^bits values' }),
  start: z
    .enum(Object.keys(kMeansStarts) as [KMeansStart, ...KMeansStart[]])
    .default('linear')
    .meta({ description: `where k-means begins; ${described(kMeansStarts)}` }),
  seed: seedOption,
});

/**
 * Shared weights: 2^b values, those of least squared error (k-means), errors weighted by their importance. If some weights are exactly 0, 0 is
 * one of the values, so that pruned weights stay pruned.
 */
export const codebook = {
  name: 'codebook',
  summary: '2^b values found by k-means: weight sharing',
  source:
    'Han, Mao and Dally 2016, Deep Compression (arXiv 1510.00149), section 3; Choi et al. 2017 (1612.01543) for weighted errors',
  options,
  sharing: () => 'tensor',
  notActivations: 'its values are those of known weights, a table to look up; int and hwgq are for activations',
  bits: ({ bits }) => bits,
  fit: (values, { bits, start, seed }, { importance }) => ({
    set: { levels: kMeans(values, 2 ** bits, { start, seed, importance }) },
    scale: 1,
  }),
} satisfies Format<z.infer<typeof options>>;
