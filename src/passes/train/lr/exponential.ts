import * as z from 'zod';
import { perStep, rateKind, rateOptions } from './rate.ts';

const options = rateOptions({ gamma: z.number().meta({ description: 'factor of an epoch' }), ...perStep });

/** lr · γᵉ */
export const exponentialLr = rateKind<z.infer<typeof options>>({
  classes: ['ExponentialLR'],
  summary: 'the rate times gamma, every epoch',
  source: 'torch.optim.lr_scheduler.ExponentialLR',
  options,
  at: (o, { base, epoch }) => base * o.gamma ** epoch,
});
