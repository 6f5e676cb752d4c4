import * as z from 'zod';
import { fitPoint, twosComplement } from './fixed.ts';
import type { Format } from './format.ts';
import { bitsOption } from './options.ts';

const { max, min } = Math;

const options = z.strictObject({
  bits: bitsOption(2, 16, 16).meta({ description: 'bits of a mantissa' }),
  exponent: z.int().min(1).max(7).default(5).meta({ description: 'bits of the shared exponent' }),
});

/**
 * flexN+M: an integer mantissa of N bits times 2^−e, e of M bits (0 … 2^M − 1) shared by the tensor. e = N − 1 − ⌈log2 of the largest magnitude⌉:
 * what Autoflex arrives at where the largest value is known and needs no prediction.
 */
export const flexpoint = {
  name: 'flexpoint',
  summary: 'integer mantissas with one short exponent for the tensor (flex16+5)',
  source: 'Köster et al. 2017, Flexpoint (arXiv 1711.02213)',
  options,
  sharing: () => 'tensor',
  bits: ({ bits }) => bits,
  set: ({ bits }, signed) => twosComplement(bits, signed, 'nearest'),
  fit: (values, { bits, exponent }, look, set) => {
    const { scale } = fitPoint(values, set, 'max', bits, look);
    return { set, scale: min(1, max(2 ** (1 - 2 ** exponent), scale)) };
  },
} satisfies Format<z.infer<typeof options>>;
