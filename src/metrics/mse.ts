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
  count: number;
  own: number;
  float: number;
}
export type MseState = Map<string, Sums>;

const distance: Distance = { name: 'mse', unit: '', higherIsBetter: false, equal: 0 };

/** Mean squared error of the outputs' elements against the float model's, per output and over all elements. */
export function mse(options: CompareOptions = {}): Metric<MseState> {
  return {
    ...distanceFacts(distance, options),
    summary: "mean squared error of the outputs against the float model's",
    start: () => new Map(),
    add(state, input) {
      for (const { output, own, wanted, float } of pairs(input, options, 'mse')) {
        const sums = perOutput(state, output, () => ({ samples: 0, count: 0, own: 0, float: 0 }));
        sums.samples += 1;
        sums.count += own.length;
        for (let i = 0; i < own.length; i++) {
          sums.own += (own[i]! - wanted[i]!) ** 2;
          sums.float += (float[i]! - wanted[i]!) ** 2;
        }
      }
      return state;
    },
    merge: mergeSums,
    finish: (state) =>
      finishPairs(state, distance, options, (which, sums = totalOf(state)) => (sums ? sums[which] / sums.count : NaN)),
  };
}
