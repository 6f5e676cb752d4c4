import * as z from 'zod';
import { rateKind, rateOptions } from './rate.ts';

const options = rateOptions({
  step_size: z.int().min(1).meta({ description: 'epochs between two steps' }),
  gamma: z.number().default(0.1).meta({ description: 'factor of a step' }),
});

/** lr · γ^⌊e / step_size⌋ */
export const stepLr = rateKind<z.infer<typeof options>>({
  classes: ['StepLR'],
  summary: 'the rate times gamma, every step_size epochs',
  source: 'torch.optim.lr_scheduler.StepLR',
  options,
  at: (o, { base, epoch }) => base * o.gamma ** Math.floor(epoch / o.step_size),
});
