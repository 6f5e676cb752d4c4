import * as z from 'zod';
import { decibels } from '../numerics/error.ts';
import { compareOptions, distanceFacts, finishPairs, pairs, perOutput, type Distance } from './compare.ts';
import type { Metric } from './metric.ts';

export const psnrOptions = compareOptions.extend({
  peak: z.number().positive().describe('The largest difference that values can have. Default: the range of the wanted values seen.').optional(), // prettier-ignore
});

interface Sums {
  samples: number;
  count: number;
  own: number;
  float: number;
  low: number;
  high: number;
}
export type PsnrState = Map<string, Sums>;

const distance: Distance = { name: 'psnr', unit: 'dB', higherIsBetter: true, equal: Infinity };

/**
 * Peak signal-to-noise ratio, 10·log10(peak² / MSE) in dB, per output; over several outputs the lowest. `peak` is 1 or 255 for
 * images; by default it is the range (largest − smallest) of the values compared with.
 */
export function psnr(options: z.infer<typeof psnrOptions> = {}): Metric<PsnrState> {
  const ratio = ({ low, high, count }: Sums, error: number): number =>
    decibels((options.peak ?? high - low) ** 2, error / count);
  return {
    ...distanceFacts(distance, options),
    summary: 'peak signal-to-noise ratio of the outputs, dB',
    start: () => new Map(),
    add(state, input) {
      for (const { output, own, wanted, float } of pairs(input, options, 'psnr')) {
        const sums = perOutput(state, output, () => ({ samples: 0, count: 0, own: 0, float: 0, low: Infinity, high: -Infinity })); // prettier-ignore
        sums.samples += 1;
        sums.count += own.length;
        for (let i = 0; i < own.length; i++) {
          const want = wanted[i]!;
          sums.own += (own[i]! - want) ** 2;
          sums.float += (float[i]! - want) ** 2;
          if (want < sums.low) sums.low = want;
          if (want > sums.high) sums.high = want;
        }
      }
      return state;
    },
    merge(a, b) {
      const merged = new Map(a);
      for (const [output, sums] of b) {
        const other = merged.get(output);
        merged.set(
          output,
          other === undefined
            ? sums
            : {
                samples: other.samples + sums.samples,
                count: other.count + sums.count,
                own: other.own + sums.own,
                float: other.float + sums.float,
                low: Math.min(other.low, sums.low),
                high: Math.max(other.high, sums.high),
              },
        );
      }
      return merged;
    },
    finish: (state) =>
      finishPairs(state, distance, options, (which, sums) => {
        if (sums) return ratio(sums, sums[which]);
        return state.size === 0 ? NaN : Math.min(...[...state.values()].map((one) => ratio(one, one[which])));
      }),
  };
}
