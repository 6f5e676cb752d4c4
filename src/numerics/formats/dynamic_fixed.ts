import * as z from 'zod';
import { fitPoint, notStochastic, twosComplement } from './fixed.ts';
import type { Format } from './format.ts';
import { bitsOption, roundingOption, seedOption } from './options.ts';
import { stochasticCodes } from './stochastic.ts';

const options = z.strictObject({
  bits: bitsOption(2, 16, 8),
  block: z.int().min(1).max(65536).optional().meta({
    description:
      'neighbouring weights of an output that share an exponent (block floating point); all of an output if not given',
  }),
  exponent: z.enum(['max', 'mse']).default('max').meta({
    description: 'the shared exponent; max: the largest value just fits; mse: that of least squared error',
  }),
  rounding: roundingOption,
  seed: seedOption,
});

/** Dynamic fixed point: k · 2^e for two's complement k of b bits, and an exponent e that each group of values shares. */
export const dynamicFixed = {
  name: 'dynamic_fixed',
  summary: 'fixed point whose exponent each output, or each block, has for itself; block floating point',
  source: 'Courbariaux, Bengio and David 2014 (arXiv 1412.7024); Gysel et al. 2016, Ristretto (1604.03168)',
  options,
  sharing: ({ block }) => (block === undefined ? 'channel' : { group: block }),
  notActivations: ({ rounding }) => notStochastic(rounding),
  runTimeBlock: ({ block, exponent }) => (exponent === 'max' ? block : undefined),
  bits: ({ bits }) => bits,
  set: ({ bits, rounding }, signed) => twosComplement(bits, signed, rounding),
  fit: (values, { bits, exponent }, look, set) => fitPoint(values, set, exponent, bits, look),
  codes: (values, grid, { rounding, seed }, group) =>
    rounding === 'stochastic' ? stochasticCodes(values, grid(), seed, group) : undefined,
} satisfies Format<z.infer<typeof options>>;
