import * as z from 'zod';
import { QtoolError } from '../../../util/error.ts';
import type { Pass } from '../../pass.ts';
import { asNumber, float, overrideSelectors } from '../../quantize/formats.ts';
import type { Method } from './surrogate.ts';

const weightBits = z.union([z.int().min(1).max(8), ...float]).transform(asNumber);
const activationBits = (least: number) => z.union([z.int().min(least).max(8), ...float]).transform(asNumber);

const optionsFrom = (least: number) => ({
  bits_weights: weightBits.default(null).meta({ description: 'bits of the weights: 1 to 8, or float' }),
  bits_activations: activationBits(least).default(null).meta({ description: `bits of what layers read: ${least} to 8, or float` }), // prettier-ignore
  bits_bias: z.unknown().optional().meta({ description: 'changes nothing: biases are int32' }),
  overrides: z
    .record(
      z.string(),
      z.strictObject({
        bits_weights: weightBits.optional(),
        bits_activations: activationBits(least).optional(),
        bits_bias: z.unknown().optional(),
      }),
    )
    .nullish()
    .transform((value) => value ?? {}),
});

/** The options that every quantizer which learns while training has. */
export const learningOptions = optionsFrom(2);

/** The same for those that hold activations of one bit. */
export const binaryOptions = optionsFrom(1);

export type LearningOptions = z.infer<z.ZodObject<typeof learningOptions>>;

/** A class of `quantizers:` that acts while training; one a file of this folder. */
export interface LearningKind<O extends LearningOptions = LearningOptions> {
  /** Its file below src/passes. */
  readonly name: string;
  /** The first is Distiller's name, where it has one. */
  readonly classes: readonly string[];
  readonly summary: string;
  readonly source: string;
  readonly options: z.ZodType<O>;
  method(options: O): Method;
}

export const learningKind = <O extends LearningOptions>(kind: LearningKind<O>): LearningKind => kind;

/** The kind as a schedule knows it: a pass that runs within epochs of training and never by itself. */
export const learningPass = ({ name, classes, summary, source, options }: LearningKind): Pass => ({
  name,
  section: 'quantizers',
  classes,
  summary,
  source,
  options,
  learns: true,
  trains: true,
  selectors: overrideSelectors,
  apply: () => Promise.reject(new QtoolError('schedule', `${classes[0]} learns while training: give the schedule \`training:\` and its policy the epochs to act in`)), // prettier-ignore
});
