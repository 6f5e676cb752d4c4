import * as z from 'zod';
import { rateKind, rateOptions } from './rate.ts';

const options = rateOptions({
  milestones: z.array(z.int().min(0)).min(1).meta({ description: 'epochs at which the rate changes' }),
  gamma: z.number().default(0.1).meta({ description: 'factor at each' }),
});

/** lr · γ^(milestones reached) */
export const multiStepLr = rateKind<z.infer<typeof options>>({
  classes: ['MultiStepLR'],
  summary: 'the rate times gamma, at each milestone',
  source: 'torch.optim.lr_scheduler.MultiStepLR',
  options,
  at: (o, { base, epoch }) => base * o.gamma ** o.milestones.filter((milestone) => milestone <= epoch).length,
});
