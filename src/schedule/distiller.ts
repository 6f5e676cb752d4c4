import * as z from 'zod';
import { each } from '../util/words.ts';
import type { AnySection } from './language.ts';

/** A class of Distiller that only means something while training: its arguments are checked, then it waits. */
export interface TrainingClass {
  readonly section: AnySection;
  readonly options: z.ZodType;
  readonly reason: string;
}

const aware = 'this quantizer learns its ranges while training; PostTrainLinearQuantizer needs only calibration data';

const number = z.number();
const flag = z.boolean();

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

/**
 * Distiller's classes that need training and wait for it, by name, with the arguments they take (facts read from Distiller's
 * documentation). A pass of the same class name takes precedence.
 */
export const trainingClasses: Readonly<Record<string, TrainingClass>> = {
  QuantAwareTrainRangeLinearQuantizer: trained({ ...ranged, quantize_inputs: flag.optional(), num_bits_inputs: bits }),
  NCFQuantAwareTrainQuantizer: trained(ranged),
  DorefaQuantizer: trained({}),
  WRPNQuantizer: trained({}),
  PACTQuantizer: trained({ act_clip_init_val: number.optional(), act_clip_decay: number.nullish() }),
};

/** Distiller's class that qtool has not: told from a misspelt one. */
export const missingClasses: readonly string[] = ['StructureParameterPruner'];
