import * as z from 'zod';
import { decibels } from '../numerics/error.ts';
import { compareOptions, distance, summed } from './compare.ts';
import type { Metric } from './metric.ts';

export const psnrOptions = compareOptions.extend({
  peak: z.number().positive().describe('The largest difference that values can have. Default: the range of the wanted values seen.').optional(), // prettier-ignore
});

/**
 * Peak signal-to-noise ratio, 10·log10(peak² / MSE) in dB, per output; over several outputs the lowest. `peak` is 1 or 255 for
 * images; by default it is the range (largest − smallest) of the values compared with.
 */
export function psnr(options: z.infer<typeof psnrOptions> = {}): Metric {
  return distance(options, {
    name: 'psnr',
    unit: 'dB',
    higherIsBetter: true,
    equal: Infinity,
    summary: 'peak signal-to-noise ratio of the outputs, dB',
    start: () => ({ samples: 0, count: 0, own: 0, float: 0, low: Infinity, high: -Infinity }),
    add(sums, { own, wanted, float }) {
      sums.count += own.length;
      for (let i = 0; i < own.length; i++) {
        const want = wanted[i]!;
        sums.own += (own[i]! - want) ** 2;
        sums.float += (float[i]! - want) ** 2;
        if (want < sums.low) sums.low = want;
        if (want > sums.high) sums.high = want;
      }
    },
    joined: (a, b) => ({ ...summed(a, b), low: Math.min(a.low, b.low), high: Math.max(a.high, b.high) }),
    value: ({ count, low, high, ...sums }, which) => decibels((options.peak ?? high - low) ** 2, sums[which] / count),
    overall: (values) => Math.min(...values),
  });
}
