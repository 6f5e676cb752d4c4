import * as z from 'zod';
import { each } from '../../../util/words.ts';
import type { LrKind, LrPoint } from '../kinds.ts';

/** Options that every class takes. */
const common = {
  last_epoch: z.int().default(-1).meta({ description: 'the schedule begins behind this epoch; -1: at its start' }),
  verbose: z.boolean().optional().meta({ description: "PyTorch's; the rate is in the report either way" }),
  warmup_epochs: z
    .number()
    .min(0)
    .default(0)
    .meta({ description: 'epochs in which the rate rises, step by step, from a tenth of itself to itself' }),
};

/** For a rate that is a smooth curve. */
export const perStep = {
  per_step: z
    .boolean()
    .default(false)
    .meta({ description: 'follow the curve within an epoch too, instead of once an epoch' }),
};

export const rateOptions = <S extends z.core.$ZodLooseShape>(shape: S) => z.strictObject({ ...shape, ...common });

interface Common {
  readonly last_epoch: number;
  readonly warmup_epochs: number;
  readonly per_step?: boolean;
}

/** One rate, or a list of them, one for each group of parameters, of which qtool has one. */
export const rates = z.union([z.number(), z.array(z.number()).min(1)]);

/** PyTorch's momentum that falls while the rate rises: here it stays, and a file that asks for it is refused. */
export const steadyMomentum = {
  cycle_momentum: z
    .boolean()
    .refine((asked) => !asked, { message: 'the momentum stays as it is here: write false, or leave it out' })
    .optional()
    .meta({ description: 'false: the momentum stays; true is refused' }),
  ...each(rates.optional().meta({ description: 'says nothing without cycle_momentum' }), 'base_momentum max_momentum'),
};
export const firstOf = (rate: number | readonly number[]): number => (typeof rate === 'number' ? rate : (rate[0] ?? 0));

/**
 * A class of learning rates from its rate at a whole epoch (a fraction of one, where `per_step` is given): with the start behind `last_epoch`,
 * and the warm-up of Goyal et al., Accurate, large minibatch SGD (arXiv 1706.02677), section 2.2.
 */
export function rateKind<O extends Common>(kind: LrKind<O>): LrKind<O> {
  const everyStep = (o: O): boolean => o.per_step === true || (kind.everyStep?.(o) ?? false);
  return {
    ...kind,
    at(o, point) {
      const epoch = everyStep(o) ? point.epoch : Math.floor(point.epoch);
      return kind.at(o, { ...point, epoch: epoch + Math.max(0, o.last_epoch + 1) }) * warmUp(o.warmup_epochs, point);
    },
    everyStep: (o) => everyStep(o) || o.warmup_epochs > 0,
  };
}

const coldest = 0.1;

const warmUp = (epochs: number, { epoch }: LrPoint): number =>
  epoch >= epochs ? 1 : coldest + ((1 - coldest) * epoch) / epochs;

/** From `from` at 0 to `to` at 1, along half a cosine. */
export const cosine = (from: number, to: number, at: number): number =>
  to + ((from - to) * (1 + Math.cos(Math.PI * at))) / 2;
