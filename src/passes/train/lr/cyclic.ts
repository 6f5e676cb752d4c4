import * as z from 'zod';
import { firstOf, perStep, rateKind, rateOptions, rates, steadyMomentum } from './rate.ts';

const count = z.int().min(0);

const options = rateOptions({
  base_lr: rates.meta({ description: 'the lower rate' }),
  max_lr: rates.meta({ description: 'the upper rate' }),
  step_size_up: count.default(2000).meta({ description: 'epochs (steps, with per_step) from the lower to the upper' }),
  step_size_down: count.nullish().meta({ description: 'as many back; step_size_up where it is not given' }),
  mode: z.enum(['triangular', 'triangular2', 'exp_range']).default('triangular'),
  gamma: z.number().default(1).meta({ description: 'factor of an epoch (step) on the amplitude, in exp_range' }),
  scale_mode: z.enum(['cycle', 'iterations']).optional().meta({ description: 'follows from the mode, as in PyTorch' }),
  ...steadyMomentum,
  ...perStep,
});

/**
 * Up from the lower to the upper rate and down again, the amplitude whole (triangular), halved each cycle (triangular2) or γᵗ (exp_range).
 * Counted in epochs, as Distiller calls it once an epoch, or with `per_step` in steps.
 */
export const cyclicLr = rateKind<z.infer<typeof options>>({
  classes: ['CyclicLR'],
  summary: 'the rate goes up and down between two bounds',
  source: 'Smith 2017 (arXiv 1506.01186); torch.optim.lr_scheduler.CyclicLR',
  options,
  at(o, { epoch, steps }) {
    const t = o.per_step ? Math.round(epoch * steps) : epoch;
    const up = o.step_size_up;
    const total = Math.max(1, up + (o.step_size_down ?? up));
    const cycle = Math.floor(t / total);
    const at = t / total - cycle;
    const height = at < up / total ? (at * total) / up : (1 - at) / (1 - up / total || 1);
    const amplitude = { triangular: 1, triangular2: 0.5 ** cycle, exp_range: o.gamma ** t }[o.mode];
    const [low, high] = [firstOf(o.base_lr), firstOf(o.max_lr)];
    return low + (high - low) * height * amplitude;
  },
});
