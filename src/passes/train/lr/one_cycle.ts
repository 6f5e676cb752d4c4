import * as z from 'zod';
import { cosine, firstOf, perStep, rateKind, rateOptions, rates, steadyMomentum } from './rate.ts';

const count = z.int().min(0).nullish();

const options = rateOptions({
  max_lr: rates.meta({ description: 'the highest rate' }),
  total_steps: count.meta({ description: 'epochs (steps, with per_step) of the cycle' }),
  epochs: count.meta({ description: "epochs of the cycle; the policy's where nothing is given" }),
  steps_per_epoch: count.meta({ description: 'what of an epoch is counted; its steps where nothing is given' }),
  pct_start: z.number().default(0.3).meta({ description: 'share of the cycle in which the rate rises' }),
  anneal_strategy: z.enum(['cos', 'linear']).default('cos'),
  ...steadyMomentum,
  div_factor: z.number().default(25).meta({ description: 'the first rate is max_lr over this' }),
  final_div_factor: z.number().default(1e4).meta({ description: 'the last rate is the first over this' }),
  ...perStep,
});
type Options = z.infer<typeof options>;

/** Whether `total_steps` alone counts, in epochs. */
const inEpochs = (o: Options): boolean => typeof o.total_steps === 'number' && !o.per_step;

/**
 * From max_lr / div_factor to max_lr and down to the least, along half cosines or straight; then it stays. The rate changes with every step
 * of training, but where only `total_steps` is given: those are epochs, as Distiller calls it once an epoch.
 */
export const oneCycleLr = rateKind<Options>({
  classes: ['OneCycleLR'],
  summary: 'the rate rises to max_lr and falls far below its start, once',
  source: 'Smith and Topin 2018 (arXiv 1708.07120); torch.optim.lr_scheduler.OneCycleLR',
  options,
  at(o, { epoch, epochs, steps }) {
    const perEpoch = o.total_steps ? steps : (o.steps_per_epoch ?? steps);
    const total = o.total_steps ?? (o.epochs ?? epochs) * perEpoch;
    const t = inEpochs(o) ? epoch : Math.round(epoch * perEpoch);
    const peak = firstOf(o.max_lr);
    const first = peak / o.div_factor;
    const between = o.anneal_strategy === 'cos' ? cosine : linear;
    const rise = o.pct_start * total - 1;
    if (t <= rise) return between(first, peak, rise > 0 ? t / rise : 1);
    const fall = total - 1 - rise;
    return between(peak, first / o.final_div_factor, fall > 0 ? Math.min(1, (t - rise) / fall) : 1);
  },
  everyStep: (o) => !inEpochs(o),
});

const linear = (from: number, to: number, at: number): number => from + (to - from) * at;
