import * as z from 'zod';
import type { Optimizer } from '../../autodiff/training_graph.ts';
import { augmentSchema } from '../../data/augment.ts';
import { given } from '../../util/must.ts';
import { distillOptions } from './loss/distill.ts';
import { lossKinds } from './loss/index.ts';
import { optimizerKinds } from './optimizer/index.ts';
import { accumulated, accumulation, averageDecay, averaged, clippedByValue } from './optimizer/wrap.ts';

/** One of a list, by its name alone or with its options. */
function named<K extends { readonly name: string; readonly options: z.ZodType }>(
  kinds: readonly K[],
  description: string,
) {
  // prettier-ignore
  const whole = kinds.map(({ name, options }) => (options as z.ZodObject).safeExtend({ name: z.literal(name) }));
  const alone = z.enum(kinds.map(({ name }) => name)).transform((name) => ({ name }));
  return z
    .union([alone, z.discriminatedUnion('name', whole as [(typeof whole)[0], ...typeof whole])])
    .transform((one): Chosen => {
      const { name, ...rest } = one as { name: string };
      const kind = given(kinds.find((k) => k.name === name), name); // prettier-ignore
      return { name, ...(kind.options.parse(rest) as object) };
    })
    .meta({ description });
}

/** A kind by its name, with its checked options. */
export interface Chosen {
  readonly name: string;
  readonly [option: string]: unknown;
}

const patterns = z.array(z.string().min(1)).min(1);

/** `training:` of a schedule. */
export const trainingSchema = z.strictObject({
  epochs: z.int().min(1).optional().meta({ description: 'How often all samples are gone through. Default: until the last policy ends' }), // prettier-ignore
  optimizer: named(optimizerKinds, 'How weights follow their gradients, with its learning rate `lr`').prefault('sgd'),
  loss: named(lossKinds, 'What is made small. Default: cross_entropy').optional(),
  batch_size: z.int().min(1).default(64).meta({ description: 'Samples of a step' }),
  seed: z.int().min(0).default(0).meta({ description: 'Of the order of samples and of their augmentation' }),
  augment: augmentSchema.optional().meta({ description: 'How samples are changed by chance' }),
  trainable: patterns.optional().meta({ description: 'Layers or weights that are trained. Default: all' }),
  frozen: patterns.optional().meta({ description: 'Layers or weights that stay as they are' }),
  batchnorm: z.enum(['train', 'frozen']).default('train').meta({ description: "Whether BatchNormalizations take the batch's statistics or keep theirs" }), // prettier-ignore
  accumulate: z.int().min(1).default(1).meta({ description: 'Steps whose gradients are averaged to one update' }),
  ema: z.number().gt(0).lt(1).optional().meta({ description: 'Decay of a running average of the weights, which is what is measured and written' }), // prettier-ignore
  clip_value: z.number().positive().optional().meta({ description: 'The largest element of a gradient' }),
  distillation: z.strictObject({
    teacher: z.string().min(1).default('float').meta({ description: "An ONNX file, or `float`: the float model that the run began with" }), // prettier-ignore
    ...distillOptions,
    hints: z.record(z.string(), z.number().positive()).optional().meta({ description: 'Inner values that are to be like those of that name in the teacher, with the weight of each' }), // prettier-ignore
  }).refine((o) => o.student_wt + o.distill_wt > 0 || o.hints !== undefined, { message: 'nothing is learned: student_wt and distill_wt are 0, and there are no hints' }).optional().meta({ description: 'A teacher, under Distiller\'s names: student_wt · loss + distill_wt · T² · KL' }), // prettier-ignore
  clip_norm: z.number().positive().optional().meta({ description: 'The largest norm of all gradients together' }),
});
export type TrainingOptions = z.infer<typeof trainingSchema>;

/** An optimizer with its learning rate, ready to be stepped. */
export interface Stepping {
  readonly optimizer: Optimizer;
  readonly lr: number;
  /** Place of the running average among the optimizer's slots; −1: it keeps none. */
  readonly average: number;
  /** What the graph's scalars are at a step. `step`: counted from 1 in its epoch of `steps`; `updates`: steps that moved weights so far. */
  scalars(at: { readonly lr: number; readonly step: number; readonly steps: number; readonly updates: number }): Readonly<Record<string, number>>; // prettier-ignore
  /** Whether a step moves weights, or only adds its gradient up. */
  moves(step: number, steps: number): boolean;
}

export function optimizerOf({ optimizer: chosen, accumulate, clip_value, ema }: TrainingOptions): Stepping {
  const { name, ...options } = chosen;
  const kind = given(optimizerKinds.find((one) => one.name === name), name); // prettier-ignore
  let optimizer = kind.make(options);
  if (ema !== undefined) optimizer = averaged(optimizer);
  const average = ema === undefined ? -1 : optimizer.slots.length - 1;
  if (clip_value !== undefined) optimizer = clippedByValue(optimizer, clip_value);
  if (accumulate > 1) optimizer = accumulated(optimizer);
  const moves = (step: number, steps: number): boolean => accumulation(step, accumulate, steps).apply === 1;
  return {
    optimizer,
    lr: Number(options['lr']),
    average,
    moves,
    scalars: ({ lr, step, steps, updates }) => ({
      ...kind.scalars(options, lr, updates + 1),
      ...(ema === undefined ? {} : { average_decay: averageDecay(ema, updates + 1) }),
      ...(accumulate > 1 ? accumulation(step, accumulate, steps) : {}),
    }),
  };
}
