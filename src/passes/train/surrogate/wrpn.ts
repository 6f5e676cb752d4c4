import * as z from 'zod';
import { mul, positive, scaled, sub, unary } from '../../../autodiff/writer.ts';
import { clippedActivations } from './clipped.ts';
import { learningKind, learningOptions } from './kind.ts';
import { rangeActivations } from './range_linear.ts';
import type { Method, WeightRounder } from './surrogate.ts';

/** y = round(n · clip(w, −1, 1)) / n with n = 2^(k − 1) − 1; dw = dy where |w| < 1. */
function wrpnWeights(bits: number): WeightRounder {
  const n = 2 ** (bits - 1) - 1;
  return {
    keeps: () => [],
    write(w, x) {
      const held = w.op('Clip', [x, w.scalar(-1), w.scalar(1)], x.dims);
      const y = scaled(w, unary(w, 'Round', scaled(w, held, n)), 1 / n);
      return {
        y,
        surrogate: {
          inputs: [x.name],
          gradient: (w, dy) => [mul(w, dy, positive(w, sub(w, w.scalar(1), mul(w, x, x))))],
        },
      };
    },
    step: () => Float32Array.of(1 / n),
  };
}

/** Mishra et al. 2018, WRPN (arXiv 1709.01134); the wider layers are the model's own affair. */
export const wrpn: Method = {
  refuse: (bits) => (bits < 2 ? 'weights of one bit are left to other methods' : undefined),
  weights: wrpnWeights,
  activations: (bits, { unsigned }) => (unsigned ? clippedActivations(bits, 1) : rangeActivations(bits)),
};

export const wrpnQuantizer = learningKind({
  name: 'train/surrogate/wrpn',
  classes: ['WRPNQuantizer'],
  summary: 'holds weights between −1 and 1, and activations between 0 and 1, in few bits',
  source: 'Mishra et al. 2018, WRPN (arXiv 1709.01134)',
  options: z.strictObject(learningOptions),
  method: () => wrpn,
});
