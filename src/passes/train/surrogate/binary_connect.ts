import * as z from 'zod';
import { binaryOptions, learningKind } from './kind.ts';
import { lsq } from './lsq.ts';
import { otherWidths } from './range_linear.ts';
import { signActivations, signWeights, type SignSlope } from './sign.ts';
import type { Method, WeightRounder } from './surrogate.ts';

/**
 * Networks of signs. What is never below 0 has no signs: of one bit it is 0 or a learned step. Layers of more bits are range-linear, activations of more
 * bits as LSQ has them.
 */
export const binaryMethod = (signs: () => WeightRounder, slope: SignSlope): Method => ({
  weights: (bits) => (bits === 1 ? signs() : otherWidths.weights(bits)),
  activations: (bits, facts) => (bits === 1 && !facts.unsigned ? signActivations(slope) : lsq.activations(bits, facts)),
});

/** The options of networks of signs. */
export const signOptions = z.strictObject({
  ...binaryOptions,
  bits_weights: binaryOptions.bits_weights.default(1),
});

export const binaryConnectQuantizer = learningKind({
  name: 'train/surrogate/binary_connect',
  classes: ['BinaryConnectQuantizer'],
  summary: 'weights of −1 and 1; with bits_activations: 1 a binarized network (BNN)',
  source: 'Courbariaux, Bengio and David 2015 (arXiv 1511.00363); Hubara et al. 2016, BNN (1602.02830)',
  options: signOptions,
  method: () => binaryMethod(() => signWeights('one', 'bounded'), 'window'),
});
