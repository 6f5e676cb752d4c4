import * as z from 'zod';
import { weightNames } from '../passes/prune/masks.ts';
import { each, words } from '../util/words.ts';
import type { AnySection } from './language.ts';

/** A class of Distiller that only means something while training: its arguments are checked, then it waits. */
export interface TrainingClass {
  readonly section: AnySection;
  readonly options: z.ZodType;
  readonly reason: string;
}

const learningRate = 'a learning-rate schedule acts on training steps, and without training there are none';
const regularizer = 'a regularizer changes the training loss, and without training there is none';
const aware = 'this quantizer learns its ranges while training; PostTrainLinearQuantizer needs only calibration data';

const number = z.number();
const count = z.int().min(0);
const flag = z.boolean();
const last = { last_epoch: z.int().optional(), verbose: flag.optional() };
const list = z.array(number).min(1);
const rates = z.union([number, list]);

function rate(shape: z.ZodRawShape): TrainingClass {
  return { section: 'lr_schedulers', options: z.strictObject({ ...shape, ...last }), reason: learningRate };
}

const groups = z.enum(words('2D 3D 4D Filters Channels Cols Rows Block Rows+Cols Cols+Rows Channels+4D 4D+Channels'));
const threshold = { threshold_criteria: z.enum(['Max', 'Mean_Abs']).nullish() };
const strength = { reg_regims: z.record(z.string(), number), ...threshold };
const grouped = { reg_regims: z.record(z.string(), z.tuple([number, groups])), ...threshold };

function regular(shape: z.ZodRawShape): TrainingClass {
  return { section: 'regularizers', options: z.strictObject(shape), reason: regularizer };
}

const bits = z.int().min(1).max(32).nullish();
const quantizer = {
  ...each(bits, 'bits_activations bits_weights bits_bias'),
  overrides: z.record(z.string(), z.record(z.string(), z.unknown())).nullish(),
};

const ranged = {
  mode: z.union([z.string(), z.record(z.string(), z.string())]).optional(),
  ema_decay: number.optional(),
  per_channel_wts: flag.optional(),
};

function trained(shape: z.ZodRawShape): TrainingClass {
  return { section: 'quantizers', options: z.strictObject({ ...quantizer, ...shape }), reason: aware };
}

const share = number.min(0).max(1);

function gradient(shape: z.ZodRawShape): TrainingClass {
  return {
    section: 'pruners',
    options: z.strictObject({
      ...shape,
      group_type: z.string().optional(),
      weights: weightNames,
      group_dependency: z.string().nullish(),
      group_size: z.int().min(1).optional(),
    }),
    reason: 'it ranks filters by the gradient of the training loss, and without training there is none',
  };
}

/**
 * Distiller's classes that need training, by name, with the arguments they take (facts read from Distiller's documentation;
 * the learning-rate ones are torch.optim.lr_scheduler's). A pass of the same class name takes precedence.
 */
export const trainingClasses: Readonly<Record<string, TrainingClass>> = {
  StepLR: rate({ step_size: z.int().min(1), gamma: number.optional() }),
  MultiStepLR: rate({ milestones: z.array(count).min(1), gamma: number.optional() }),
  ExponentialLR: rate({ gamma: number }),
  CosineAnnealingLR: rate({ T_max: z.int().min(1), eta_min: number.optional() }),
  CosineAnnealingWarmRestarts: rate({
    T_0: z.int().min(1),
    T_mult: z.int().min(1).optional(),
    eta_min: number.optional(),
  }),
  CyclicLR: rate({
    ...each(rates, 'base_lr max_lr'),
    step_size_up: count.optional(),
    step_size_down: count.nullish(),
    mode: z.enum(['triangular', 'triangular2', 'exp_range']).optional(),
    gamma: number.optional(),
    scale_mode: z.enum(['cycle', 'iterations']).optional(),
    cycle_momentum: flag.optional(),
    ...each(rates.optional(), 'base_momentum max_momentum'),
  }),
  OneCycleLR: rate({
    max_lr: rates,
    ...each(count.nullish(), 'total_steps epochs steps_per_epoch'),
    pct_start: number.optional(),
    anneal_strategy: z.enum(['cos', 'linear']).optional(),
    cycle_momentum: flag.optional(),
    ...each(rates.optional(), 'base_momentum max_momentum'),
    ...each(number.optional(), 'div_factor final_div_factor'),
  }),
  ReduceLROnPlateau: rate({
    mode: z.enum(['min', 'max']).optional(),
    factor: number.optional(),
    patience: count.optional(),
    threshold: number.optional(),
    threshold_mode: z.enum(['rel', 'abs']).optional(),
    cooldown: count.optional(),
    min_lr: rates.optional(),
    eps: number.optional(),
  }),
  PolynomialLR: rate({ T_max: z.int().min(1), power: number }),
  MultiStepMultiGammaLR: rate({ milestones: z.array(count).min(1), gammas: list }),

  L1Regularizer: regular(strength),
  L2Regularizer: regular(strength),
  GroupLassoRegularizer: regular(grouped),
  GroupVarianceRegularizer: regular(grouped),
  DropFilterRegularizer: regular(grouped),

  QuantAwareTrainRangeLinearQuantizer: trained({ ...ranged, quantize_inputs: flag.optional(), num_bits_inputs: bits }),
  NCFQuantAwareTrainQuantizer: trained(ranged),
  DorefaQuantizer: trained({}),
  WRPNQuantizer: trained({}),
  PACTQuantizer: trained({ act_clip_init_val: number.optional(), act_clip_decay: number.nullish() }),

  GradientRankedFilterPruner: gradient({ desired_sparsity: share }),
  GradientRankedFilterPruner_AGP: gradient({ initial_sparsity: share, final_sparsity: share }),
};

/** Distiller's class that qtool has not: told from a misspelt one. */
export const missingClasses: readonly string[] = ['StructureParameterPruner'];
