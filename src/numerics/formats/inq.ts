import * as z from 'zod';
import type { Format, LevelSet } from './format.ts';
import { symmetric } from './log2.ts';
import { mirrored } from './minifloat.ts';
import { bitsOption } from './options.ts';
import { largestOf, powerOfTwo } from './scale.ts';

const { floor, log2 } = Math;

const options = z.strictObject({
  bits: bitsOption(2, 7, 5).meta({ description: 'bits of a code; one of them is for 0, as the paper counts' }),
});

/**
 * {0, ±2^n2 … ±2^n1}: n1 = ⌊log2(4s/3)⌋ for s = max |w|, n2 = n1 + 1 − 2^(b−1)/2. |w| becomes β where (α + β)/2 ≤ |w| < 3β/2 for neighbours α < β: the
 * nearest, of two the larger.
 */
export const inq = {
  name: 'inq',
  summary: 'powers of two and 0 as INQ chooses them from the largest weight',
  source: 'Zhou et al. 2017, INQ (arXiv 1702.03044), equations 1 to 4',
  options,
  sharing: () => 'tensor',
  notActivations: 'it is a format of weights; log2 is the like for activations',
  bits: ({ bits }) => bits,
  set: ({ bits }) => powersToNearest(2 ** (bits - 2)),
  fit: (values, _, __, set) => {
    const largest = largestOf(values);
    return { set, scale: largest === 0 ? 1 : powerOfTwo(floor(log2((4 * largest) / 3))) };
  },
} satisfies Format<z.infer<typeof options>>;

/** 0 and ±1, ±½, … of so many magnitudes, to the nearest and of two to the larger. */
function powersToNearest(count: number): LevelSet {
  const powers = Array.from({ length: count }, (_, i) => 2 ** (i + 1 - count));
  return {
    levels: mirrored([0, ...powers]),
    thresholds: symmetric(powers.map((p, i) => (i === 0 ? p / 2 : 0.75 * p))),
  };
}
