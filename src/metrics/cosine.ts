import { distance, type CompareOptions } from './compare.ts';
import type { Metric } from './metric.ts';

/** Cosine of two vectors, from −1 to 1. Two vectors of zeros are the same (1); one of zeros has no direction (0). */
export function cosineOf(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    aa += a[i]! * a[i]!;
    bb += b[i]! * b[i]!;
  }
  if (aa === 0 || bb === 0) return aa === bb ? 1 : 0;
  return dot / Math.sqrt(aa * bb);
}

/** Cosine similarity of each sample's output (flattened) and the float model's, averaged over samples; over all outputs, their mean. */
export function cosine(options: CompareOptions = {}): Metric {
  return distance(options, {
    name: 'cosine',
    unit: '',
    higherIsBetter: true,
    equal: 1,
    summary: "mean cosine similarity of the outputs and the float model's",
    start: () => ({ samples: 0, own: 0, float: 0 }),
    add(sums, { own, wanted, float }) {
      sums.own += cosineOf(own, wanted);
      if (options.against === 'expected') sums.float += cosineOf(float, wanted);
    },
    value: (sums, which) => sums[which] / sums.samples,
  });
}
