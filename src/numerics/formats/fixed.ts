import * as z from 'zod';
import type { Fitted, Format, LevelSet, Look } from './format.ts';
import { integers } from './int.ts';
import { bitsOption, roundingOption, seedOption, type Rounding } from './options.ts';
import { leastErrorPower, largestOf, powerOfTwo } from './scale.ts';
import { stochasticCodes } from './stochastic.ts';

const { ceil, log2 } = Math;

const options = z.strictObject({
  bits: bitsOption(2, 16, 16),
  fraction: z
    .union([z.enum(['max', 'mse']), z.int().min(-64).max(64)])
    .default('max')
    .meta({
      description:
        'bits after the binary point; max: as many as leave room for the largest value (Ristretto); mse: those of least squared error',
    }),
  rounding: roundingOption,
  seed: seedOption,
});

/**
 * Qm.n: k · 2^−n for k of two's complement, −2^(b−1) … 2^(b−1) − 1, or 0 … 2^b − 1 where nothing is below 0; beyond the ends it saturates.
 * One binary point for the tensor. Rounded to the nearest, down, or up with the probability of the fraction that is cut off.
 */
export const fixed = {
  name: 'fixed',
  summary: 'fixed point Qm.n: two’s complement with one binary point for the tensor',
  source: 'Gupta et al. 2015 (arXiv 1502.02551); Gysel et al. 2016, Ristretto (1604.03168)',
  options,
  sharing: () => 'tensor',
  notActivations: ({ rounding }) => notStochastic(rounding),
  bits: ({ bits }) => bits,
  set: ({ bits, rounding }, signed) => twosComplement(bits, signed, rounding),
  fit: (values, { bits, fraction }, look, set) =>
    typeof fraction === 'number' ? { set, scale: powerOfTwo(-fraction) } : fitPoint(values, set, fraction, bits, look),
  codes: (values, grid, { rounding, seed }, group) =>
    rounding === 'stochastic' ? stochasticCodes(values, grid(), seed, group) : undefined,
} satisfies Format<z.infer<typeof options>>;

/** Why activations cannot be rounded by chance; undefined for the other ways. */
export const notStochastic = (rounding: Rounding): string | undefined =>
  rounding === 'stochastic' ? 'a model that rounds by chance would answer differently each time' : undefined;

/** The integers of b bits; rounded down where `floor` says, else to the nearest. */
export function twosComplement(bits: number, signed: boolean, rounding: Rounding): LevelSet {
  const levels = signed ? integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) : integers(0, 2 ** bits - 1);
  return rounding === 'floor' ? { levels, thresholds: levels.slice(1) } : { levels };
}

/**
 * The exponent that a group shares. max: the integer part takes ⌈log2 of the largest magnitude⌉ bits and the sign, as in Ristretto; a
 * magnitude that is a power of two saturates by one step.
 */
export function fitPoint(values: Float32Array, set: LevelSet, rule: 'max' | 'mse', bits: number, look: Look): Fitted {
  if (rule === 'mse') return { set, scale: leastErrorPower(values, set, look) };
  const largest = largestOf(values);
  return { set, scale: largest === 0 ? 1 : powerOfTwo(ceil(log2(largest)) - bits + (look.signed ? 1 : 0)) };
}
