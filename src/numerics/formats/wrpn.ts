import * as z from 'zod';
import type { Format } from './format.ts';
import { integers } from './int.ts';
import { bitsOption, clipOption } from './options.ts';
import { clippedScale } from './pact.ts';

const options = z.strictObject({ bits: bitsOption(2, 8, 4), clip: clipOption('max') });

/**
 * Weights: round(n · clip(w, ±c)) / n with n = 2^(b−1) − 1 steps to either side; activations: q(clip(x, 0, c)) with 2^b − 1 steps. The paper trains with c = 1, which
 * suits no net that was not trained so; here c is the largest weight unless it is given.
 */
export const wrpn = {
  name: 'wrpn',
  summary: 'even steps between −c and c, 0 and c where nothing is below 0',
  source: 'Mishra et al. 2018, WRPN (arXiv 1709.01134)',
  options,
  sharing: () => 'tensor',
  bits: ({ bits }) => bits,
  set: ({ bits }, signed) => ({
    levels: signed ? integers(-(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1) : integers(0, 2 ** bits - 1),
  }),
  fit: (values, { clip }, look, set) => ({ set, scale: clippedScale(values, set, clip, look) }),
} satisfies Format<z.infer<typeof options>>;
