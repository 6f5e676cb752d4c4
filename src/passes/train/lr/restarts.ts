import * as z from 'zod';
import { cosine, perStep, rateKind, rateOptions } from './rate.ts';

const options = rateOptions({
  T_0: z.int().min(1).meta({ description: 'epochs up to the first restart' }),
  T_mult: z.int().min(1).default(1).meta({ description: 'how much longer each period is than the one before' }),
  eta_min: z.number().default(0).meta({ description: 'the least rate' }),
  ...perStep,
});

/** Half a cosine again and again, each T_mult times as long as the one before. */
export const cosineAnnealingWarmRestarts = rateKind<z.infer<typeof options>>({
  classes: ['CosineAnnealingWarmRestarts'],
  summary: 'the rate falls along half a cosine, again and again',
  source: 'Loshchilov and Hutter 2017 (arXiv 1608.03983); torch.optim.lr_scheduler.CosineAnnealingWarmRestarts',
  options,
  at(o, { base, epoch }) {
    let [since, period] = [epoch, o.T_0];
    for (; since >= period; period *= o.T_mult) since -= period;
    return cosine(base, o.eta_min, since / period);
  },
});
