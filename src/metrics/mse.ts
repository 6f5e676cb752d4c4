import { distance, type CompareOptions } from './compare.ts';
import type { Metric } from './metric.ts';

/** Mean squared error of the outputs' elements against the float model's, per output and over all elements. */
export function mse(options: CompareOptions = {}): Metric {
  return distance(options, {
    name: 'mse',
    unit: '',
    higherIsBetter: false,
    equal: 0,
    summary: "mean squared error of the outputs against the float model's",
    start: () => ({ samples: 0, count: 0, own: 0, float: 0 }),
    add(sums, { own, wanted, float }) {
      sums.count += own.length;
      for (let i = 0; i < own.length; i++) {
        sums.own += (own[i]! - wanted[i]!) ** 2;
        sums.float += (float[i]! - wanted[i]!) ** 2;
      }
    },
    value: (sums, which) => sums[which] / sums.count,
  });
}
