import * as z from 'zod';
import { firstOf, rateKind, rateOptions, rates } from './rate.ts';

const options = rateOptions({
  mode: z.enum(['min', 'max']).default('min').meta({ description: 'whether a smaller or a larger loss is better' }),
  factor: z.number().default(0.1).meta({ description: 'factor on the rate' }),
  patience: z.int().min(0).default(10).meta({ description: 'epochs without improvement that are let pass' }),
  threshold: z.number().default(1e-4).meta({ description: 'the least improvement that counts' }),
  threshold_mode: z
    .enum(['rel', 'abs'])
    .default('rel')
    .meta({ description: 'a share of the best loss, or a distance' }),
  cooldown: z.int().min(0).default(0).meta({ description: 'epochs behind a change that do not count' }),
  min_lr: rates.default(0).meta({ description: 'the least rate' }),
  eps: z.number().default(1e-8).meta({ description: 'a smaller change of the rate is left out' }),
});

/** The rate times `factor` once the mean training loss of an epoch has not improved for more than `patience` epochs. */
export const reduceLrOnPlateau = rateKind<z.infer<typeof options>>({
  classes: ['ReduceLROnPlateau'],
  summary: 'the rate falls when the training loss no longer does',
  source: 'torch.optim.lr_scheduler.ReduceLROnPlateau, of the training loss',
  options,
  at(o, { base, losses }) {
    const sign = o.mode === 'min' ? 1 : -1;
    const bar = (best: number): number =>
      o.threshold_mode === 'abs' ? best - sign * o.threshold : best * (1 - sign * o.threshold);
    let [rate, best, bad, cooling] = [base, sign * Infinity, 0, 0];
    for (const loss of losses) {
      const better = sign * loss < sign * bar(best);
      if (better) best = loss;
      bad = better ? 0 : bad + 1;
      if (cooling > 0) [cooling, bad] = [cooling - 1, 0];
      if (bad <= o.patience) continue;
      const next = Math.max(rate * o.factor, firstOf(o.min_lr));
      if (rate - next > o.eps) rate = next;
      [cooling, bad] = [o.cooldown, 0];
    }
    return rate;
  },
});
