import * as z from 'zod';
import type { Format } from './format.ts';
import { bitsOption, scaleOption } from './options.ts';
import { fitScale } from './scale.ts';

const options = z.strictObject({ bits: bitsOption(2, 16, 8), scale: scaleOption('mse') });

/**
 * Integers times a scale: −(2^(b−1) − 1) … 2^(b−1) − 1 with sign, 0 … 2^b − 1 without. What `bits_weights: n` is short for; zero points
 * and integer kernels are the other quantizers' business.
 */
export const int = {
  name: 'int',
  summary: 'integers times a scale, symmetric about 0',
  source: 'Jacob et al. 2018 (arXiv 1712.05877)',
  options,
  sharing: () => 'channel',
  bits: ({ bits }) => bits,
  short: ({ bits, scale }) => (scale === 'mse' ? `int${bits}` : undefined),
  set: ({ bits }, signed) => ({
    levels: signed ? integers(-(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1) : integers(0, 2 ** bits - 1),
  }),
  fit: (values, { scale }, look, set) => fitScale(values, set, scale, look),
} satisfies Format<z.infer<typeof options>>;

/** All integers from least to most. */
export const integers = (least: number, most: number): Float32Array =>
  Float32Array.from({ length: most - least + 1 }, (_, i) => least + i);
