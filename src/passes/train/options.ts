import * as z from 'zod';
import type { Loss, Optimizer } from '../../autodiff/training_graph.ts';
import { augmentSchema } from '../../data/augment.ts';
import type { Batch, Feeds } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';
import { isOp, producers } from '../../graph/query.ts';
import { QtoolError } from '../../util/error.ts';
import { given } from '../../util/must.ts';
import type { PassContext } from '../pass.ts';
import { lossKinds } from './loss/index.ts';
import { optimizerKinds } from './optimizer/index.ts';

/** One of a list, by its name alone or with its options. */
function named<K extends { readonly name: string; readonly options: z.ZodType }>(
  kinds: readonly K[],
  description: string,
) {
  // prettier-ignore
  const whole = kinds.map(({ name, options }) => (options as z.ZodObject).extend({ name: z.literal(name) }));
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
  clip_norm: z.number().positive().optional().meta({ description: 'The largest norm of all gradients together' }),
});
export type TrainingOptions = z.infer<typeof trainingSchema>;

/** An optimizer with its learning rate, ready to be stepped. */
export interface Stepping {
  readonly optimizer: Optimizer;
  readonly lr: number;
  /** What the graph's scalars are at a step, counted from 1. */
  scalars(lr: number, step: number): Readonly<Record<string, number>>;
}

export function optimizerOf({ optimizer: { name, ...options } }: TrainingOptions, _model: Model): Stepping {
  const kind = given(optimizerKinds.find((one) => one.name === name), name); // prettier-ignore
  return {
    optimizer: kind.make(options),
    lr: Number(options['lr']),
    scalars: (lr, step) => kind.scalars(options, lr, step),
  };
}

/** A loss, and what its inputs are fed with a batch. */
export interface Taught {
  readonly loss: Loss;
  feeds(batch: Batch, outputs: ReadonlyMap<string, readonly number[]>, ctx: PassContext): Promise<Feeds>;
}

/** The loss of a training block. @throws QtoolError('data') without labels, where it needs them. */
export function lossOf(training: TrainingOptions, model: Model, labelled: boolean): Taught {
  const { name, ...options } = training.loss ?? { name: 'cross_entropy' };
  const kind = given(lossKinds.find((one) => one.name === name), name); // prettier-ignore
  if (!labelled && name === 'cross_entropy')
    throw new QtoolError('data', 'the samples to train on have no labels', {
      hint: 'give labels, or learn from the float model: `distillation: { student_wt: 0 }`',
    });
  const made = kind.options.parse({ ...(endsInSoftmax(model) && name === 'cross_entropy' ? { logits: false } : {}), ...options }); // prettier-ignore
  return {
    loss: kind.make(made),
    feeds: async (batch, outputs) => kind.feeds(made, batch, outputs),
  };
}

function endsInSoftmax(model: Model): boolean {
  const last = producers(model.graph).get(model.graph.output[0]?.name ?? '');
  return last !== undefined && isOp(last, 'Softmax');
}
