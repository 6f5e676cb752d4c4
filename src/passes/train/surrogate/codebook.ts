import * as z from 'zod';
import { mul, reshape, unary } from '../../../autodiff/writer.ts';
import { elementCount } from '../../../graph/tensor.ts';
import { codesInSet } from '../../../numerics/grid.ts';
import { kMeans, kMeansStarts, type KMeansStart } from '../../../numerics/kmeans.ts';
import { described } from '../../../numerics/formats/options.ts';
import { learningKind, binaryOptions } from './kind.ts';
import { lsq } from './lsq.ts';
import type { Method, WeightRounder } from './surrogate.ts';

/**
 * y = C[index]: which value a weight has is settled by k-means when training begins, and the values are trained: dC_k = Σ dy over the weights that share it.
 * The value 0, if pruned weights have it, stays 0.
 */
function sharedWeights(bits: number, start: KMeansStart, seed: number): WeightRounder {
  const count = 2 ** bits;
  return {
    label: `codebook:bits=${bits}`,
    keeps({ data, dims }) {
      const found = kMeans(data, count, { start, seed });
      // Fewer values than there is room for: the last one again, which no weight has.
      const levels = Float32Array.from({ length: count }, (_, k) => found[Math.min(k, found.length - 1)]!);
      return [
        { name: 'values', dims: [count], first: levels },
        { name: 'index', dims, first: Float32Array.from(codesInSet({ levels: found }, 1, data)) },
      ];
    },
    found: { names: ['index'], each: 'epoch', find: (_, kept) => new Map([['index', kept('index')]]) },
    write(w, x, kept) {
      const values = kept('values');
      const index = unary(w, 'Cast', kept('index'), { to: 7 });
      return {
        y: w.op('Gather', [values, index], x.dims, { axis: 0 }),
        surrogate: {
          inputs: [values.name],
          gradient(w, dy) {
            const size = elementCount(x.dims);
            const sums = w.op('ScatterElements', [w.filled([count]), reshape(w, index, [size]), reshape(w, dy, [size])], [count], { axis: 0, reduction: 'add' }); // prettier-ignore
            // Sign of the magnitude: 0 for the value 0, which has no gradient.
            return [mul(w, sums, unary(w, 'Sign', unary(w, 'Abs', values)))];
          },
        },
      };
    },
  };
}

/** Han, Mao and Dally 2016, Deep Compression (arXiv 1510.00149), section 3.3. */
export const codebook = ({ start, seed }: { readonly start: KMeansStart; readonly seed: number }): Method => ({
  weights: (bits) => sharedWeights(bits, start, seed),
  activations: (bits, facts) => lsq.activations(bits, facts),
});

export const codebookQuantizer = learningKind({
  name: 'train/surrogate/codebook',
  classes: ['TrainedCodebookQuantizer'],
  summary: 'weights share 2^bits values found by k-means, and the values are trained',
  source: 'Han, Mao and Dally 2016, Deep Compression (arXiv 1510.00149), section 3',
  options: z.strictObject({
    ...binaryOptions,
    bits_weights: binaryOptions.bits_weights.default(4),
    start: z.enum(Object.keys(kMeansStarts) as [KMeansStart, ...KMeansStart[]]).default('linear').meta({ description: `where k-means begins; ${described(kMeansStarts)}` }), // prettier-ignore
    seed: z.int().min(0).default(0).meta({ description: 'of start: random' }),
  }),
  method: (o) => codebook(o),
});
