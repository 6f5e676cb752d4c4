import * as z from 'zod';
import { cosine, perStep, rateKind, rateOptions } from './rate.ts';

const options = rateOptions({
  T_max: z.int().min(1).meta({ description: 'epochs in which the rate falls to its least' }),
  eta_min: z.number().default(0).meta({ description: 'the least rate' }),
  ...perStep,
});

/** η_min + (lr − η_min) (1 + cos π e / T_max) / 2; it rises again behind T_max, as PyTorch's does. */
export const cosineAnnealingLr = rateKind<z.infer<typeof options>>({
  classes: ['CosineAnnealingLR'],
  summary: 'the rate falls to eta_min along half a cosine',
  source: 'Loshchilov and Hutter 2017 (arXiv 1608.03983), equation 5; torch.optim.lr_scheduler.CosineAnnealingLR',
  options,
  at: (o, { base, epoch }) => cosine(base, o.eta_min, epoch / o.T_max),
});
