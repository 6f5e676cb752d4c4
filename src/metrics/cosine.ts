import {
  distanceFacts,
  finishPairs,
  mergeSums,
  pairs,
  perOutput,
  totalOf,
  type CompareOptions,
  type Distance,
} from './compare.ts';
import type { Metric } from './metric.ts';

interface Sums {
  samples: number;
  own: number;
  float: number;
}
export type CosineState = Map<string, Sums>;

/** Cosine of two vectors, from −1 to 1. Two vectors of zeros are the same (1); one of zeros has no direction (0). */
function cosineOf(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    aa += a[i]! * a[i]!;
    bb += b[i]! * b[i]!;
  }
  if (aa === 0 || bb === 0) return aa === bb ? 1 : 0;
  return dot / Math.sqrt(aa * bb);
}

const distance: Distance = { name: 'cosine', unit: '', higherIsBetter: true, equal: 1 };

/** Cosine similarity of each sample's output (flattened) and the float model's, averaged over samples; over all outputs, their mean. */
export function cosine(options: CompareOptions = {}): Metric<CosineState> {
  return {
    ...distanceFacts(distance, options),
    summary: "mean cosine similarity of the outputs and the float model's",
    start: () => new Map(),
    add(state, input) {
      for (const { output, own, wanted, float } of pairs(input, options, 'cosine')) {
        const sums = perOutput(state, output, () => ({ samples: 0, own: 0, float: 0 }));
        sums.samples += 1;
        sums.own += cosineOf(own, wanted);
        if (options.against === 'expected') sums.float += cosineOf(float, wanted);
      }
      return state;
    },
    merge: mergeSums,
    finish: (state) =>
      finishPairs(state, distance, options, (which, sums = totalOf(state)) =>
        sums ? sums[which] / sums.samples : NaN,
      ),
  };
}
