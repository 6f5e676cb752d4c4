import * as z from 'zod';
import { nextFloat32 } from '../grid.ts';
import type { Format, LevelSet } from './format.ts';
import { mirrored } from './minifloat.ts';
import { bitsOption } from './options.ts';
import { largestOf, leastErrorPower, powerOfTwo } from './scale.ts';

const { ceil, floor, log2, round } = Math;

const options = z.strictObject({
  bits: bitsOption(2, 6, 5).meta({ description: 'bits of a code, the sign among them where there is one' }),
  base: z
    .union([z.literal(2), z.literal('sqrt2')])
    .default(2)
    .meta({ description: 'neighbouring levels are a factor 2 or √2 apart' }),
  rounding: z.enum(['log', 'nearest']).default('log').meta({
    description: 'log: to the nearest logarithm, as LogNet does; nearest: to the nearest value, of less error',
  }),
  range: z.enum(['max', 'mse']).default('max').meta({
    description: 'the largest power; max: that of the largest value; mse: that of least squared error',
  }),
});
type Options = z.infer<typeof options>;

/**
 * 0 and ± base^(FSR − 1), base^(FSR − 2), …: 2^b − 1 magnitudes, or 2^(b−1) − 1 and a sign. x becomes sign(x) · base^round(log_base |x|), 0 below the
 * least, the largest beyond it. FSR is a whole power of 2 for both bases, so that the scale is.
 */
export const logarithmic = {
  name: 'log2',
  summary: 'powers of two, or of √2: a product becomes a shift',
  source: 'Miyashita, Lee and Murmann 2016 (arXiv 1603.01025); Lee et al. 2017, LogNet',
  options,
  sharing: () => 'channel',
  bits: ({ bits }) => bits,
  set,
  fit: (values, o, look, levels) => ({
    set: levels,
    scale: o.range === 'mse' ? leastErrorPower(values, levels, look) : powerOfTwo(topPower(largestOf(values), o)),
  }),
} satisfies Format<Options>;

function set({ bits, base, rounding }: Options, signed: boolean): LevelSet {
  const count = 2 ** (signed ? bits - 1 : bits) - 1;
  const step = base === 2 ? 1 : 0.5;
  const powers = Array.from({ length: count }, (_, i) => -step * (count - 1 - i));
  const levels = mirrored([0, ...powers.map((e) => 2 ** e)], signed);
  if (rounding === 'nearest') return { levels };
  return {
    levels,
    thresholds: symmetric(
      powers.map((e) => 2 ** (e - step / 2)),
      signed,
    ),
  };
}

/** The power of two that is level 1: where the largest value is rounded to, or the next whole one. */
function topPower(largest: number, { base, rounding }: Options): number {
  if (largest === 0) return 0;
  const exponent = log2(largest);
  const steps = base === 2 ? 1 : 2;
  if (rounding === 'log') return ceil(round(exponent * steps) / steps);
  const below = floor(exponent * steps) / steps;
  return ceil(largest * 2 >= 2 ** below * (1 + 2 ** (1 / steps)) ? below + 1 / steps : below);
}

/** Thresholds above 0, at which the larger magnitude begins, with those below 0 at which it ends. */
export function symmetric(above: readonly number[], signed = true): Float32Array {
  const up = Float32Array.from(above);
  return signed ? Float32Array.of(...up.map((t) => nextFloat32(-t)).reverse(), ...up) : up;
}
