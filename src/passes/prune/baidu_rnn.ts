import * as z from 'zod';
import { rampedThreshold } from '../../numerics/agp.ts';
import { magnitudeMask } from '../../numerics/sparsity.ts';
import { QtoolError } from '../../util/error.ts';
import type { Clock, Pass } from '../pass.ts';
import { pruneEach, weightNames, weightSelectors } from './masks.ts';

const options = z.strictObject({
  q: z.number().min(0).meta({
    description: "the threshold that the ramp leads to, such as the 90th percentile of a dense model's magnitudes",
  }),
  ramp_epoch_offset: z
    .int()
    .min(0)
    .meta({ description: 'epochs after the first one of the policy from which on the threshold rises faster' }),
  ramp_slope_mult: z.number().min(0).default(1.5).meta({ description: 'how many times faster it then rises' }),
  weights: weightNames,
});

export type BaiduRnnOptions = z.infer<typeof options>;

/** Zeros magnitudes up to a threshold that rises from epoch to epoch, slowly first and then faster. Made for recurrent layers. */
export const baiduRnnPruner: Pass<BaiduRnnOptions> = {
  name: 'prune/baidu_rnn',
  section: 'pruners',
  classes: ['BaiduRNNPruner'],
  summary: 'zero the weights of magnitude up to a threshold that rises from epoch to epoch',
  source: 'Narang et al. 2017, Exploring Sparsity in Recurrent Neural Networks (arXiv 1704.05119); Distiller',
  options,
  selectors: (o) => weightSelectors('weights', o.weights),
  strength: {
    at: (o, t) => ({ ...o, q: o.q * t }),
    describe: (o) => `q ${o.q.toPrecision(3)}`,
  },
  apply: async (model, o, { clock }) => {
    const threshold = thresholdAt(o, clock);
    const result = pruneEach(model, o.weights, (site) => magnitudeMask(site.data, threshold));
    const text = `threshold ${threshold.toPrecision(4)} at epoch ${clock.epoch}`;
    return { ...result, notes: [text, ...(result.notes ?? [])] };
  },
};

function thresholdAt(o: BaiduRnnOptions, { epoch, start, end, frequency }: Clock): number {
  const ramp = start + o.ramp_epoch_offset;
  if (ramp >= end)
    throw new QtoolError(
      'schedule',
      `ramp_epoch_offset ${o.ramp_epoch_offset} is not below the ${end - start} epochs of the policy`,
      {
        hint: 'give the policy a later ending_epoch, or the pruner a smaller ramp_epoch_offset',
      },
    );
  return rampedThreshold(o.q, epoch, { start, ramp, end, frequency }, o.ramp_slope_mult);
}
