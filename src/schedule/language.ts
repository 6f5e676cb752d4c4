import * as z from 'zod';
import type { Section } from '../passes/pass.ts';
import type { Fallback, Gate, Limit } from './types.ts';

/** Sections whose instances run, and Distiller's that only mean something while training. */
const runningSections = ['pruners', 'quantizers', 'allocators', 'extensions'] as const satisfies Section[];
const trainingSections = ['regularizers', 'lr_schedulers'] as const;
export const sections = [...runningSections, ...trainingSections] as const;
export type AnySection = (typeof sections)[number];

/** The key by which a policy names an instance of a section. */
export const policyKeys = {
  pruners: 'pruner',
  quantizers: 'quantizer',
  allocators: 'allocator',
  extensions: 'extension',
  regularizers: 'regularizer',
  lr_schedulers: 'lr_scheduler',
} as const satisfies Record<AnySection, string>;

export const isRunning = (section: AnySection): section is Section =>
  (runningSections as readonly string[]).includes(section);

const percent = /^\s*(\d+(?:\.\d+)?)\s*%\s*$/;

const limits = {
  metric: z.string().min(1).describe('A metric of the run: top1, top5, agreement, sqnr, …'),
  max_drop: z
    .union([
      z.number().min(0),
      z.string().regex(percent, "must be a number in the metric's unit, or a share such as '1%'"),
    ])
    .optional()
    .describe("How much worse than the float model is allowed: in the metric's unit, or '1%' of the float value"),
  min: z.number().optional().describe('The least value allowed, for metrics that are better when higher (sqnr in dB)'),
  max: z.number().optional().describe('The largest value allowed, for metrics that are better when lower (mse)'),
};
const bounds = ['max_drop', 'min', 'max'] as const;
type Written = { readonly metric: string } & { readonly [B in (typeof bounds)[number]]?: number | string | undefined };

/** A mapping with exactly one bound: in the parser, and for the JSON Schema. */
function oneBound<T extends z.ZodType<Written>>(schema: T, description: string): T {
  return schema
    .superRefine((written, context) => {
      const given = bounds.filter((key) => written[key] !== undefined);
      if (given.length !== 1)
        context.addIssue({
          code: 'custom',
          path: given.slice(1, 2),
          message:
            given.length === 0 ? `needs one of ${bounds.join(', ')}` : `takes one bound, and has ${given[0]} already`,
        });
    })
    .meta({ description, oneOf: bounds.map((key) => ({ required: [key] })) });
}

const gateSchema = oneBound(
  z.strictObject({
    ...limits,
    unlabelled: oneBound(z.strictObject(limits), 'What is asked instead on data without labels')
      .optional()
      .describe(
        'The limit that stands in where the metric cannot be measured, for want of labels: { metric: sqnr, min: 20 }',
      ),
    on_fail: z
      .enum(['undo', 'retry', 'stop', 'warn'])
      .default('stop')
      .describe('undo: go on without this stage; retry: weaken it until the gate holds; stop: end here; warn: go on'),
  }),
  'What a stage may cost',
);

export const gateOrNone = z.union([gateSchema, z.literal('none')]).describe("A gate, or 'none'");

/** The checked form of a gate; undefined for `none`. */
export function toGate(gate: z.output<typeof gateOrNone>): Gate | undefined {
  if (gate === 'none') return undefined;
  const { unlabelled } = gate;
  return { ...toLimit(gate), onFail: gate.on_fail, ...(unlabelled && { unlabelled: toLimit(unlabelled) }) };
}

export function toLimit({ metric, max_drop, min, max }: Written): Limit {
  if (min !== undefined) return { metric, min: Number(min) };
  if (max !== undefined) return { metric, max: Number(max) };
  const share = percent.exec(String(max_drop))?.[1];
  return {
    metric,
    maxDrop: share === undefined ? Number(max_drop) : Number(share) / 100,
    relative: share !== undefined,
  };
}

/** Why a limit can say nothing about a metric, given what the float model reaches; undefined where it can. */
export function limitProblem(
  limit: Limit,
  { reference, higherIsBetter }: { readonly reference: number; readonly higherIsBetter?: boolean },
): string | undefined {
  const { metric } = limit;
  if ('maxDrop' in limit) {
    if (!Number.isFinite(reference))
      return `${metric} of the float model is ${reference > 0 ? '∞' : reference}, so every drop from it is infinite: write a least value, as in "min: 25"`;
    if (limit.relative && reference === 0)
      return `${metric} of the float model is 0, and a share of that is nothing: write ${higherIsBetter === false ? 'a largest value, "max:"' : 'max_drop as a number'}`;
    return undefined;
  }
  if (higherIsBetter === false && 'min' in limit) return `${metric} is better when lower: write "max:"`;
  if (higherIsBetter === true && 'max' in limit) return `${metric} is better when higher: write "min:"`;
  return undefined;
}

const fallbackSchema = oneBound(
  z.strictObject({
    ...limits,
    time_budget: z.number().positive().optional().describe('Seconds after which the best so far is taken'),
  }),
  'Raise the layers and values that do most damage to more bits, or to float, until the metric holds',
);

/** The checked form of a fallback. */
export function toFallback(fallback: z.output<typeof fallbackSchema>): Fallback {
  return { ...toLimit(fallback), timeBudget: fallback.time_budget };
}

const epoch = z.int().min(0);

const reference = z.strictObject({
  instance_name: z.string().min(1).describe('The instance this policy applies'),
  args: z
    .record(z.string(), z.unknown())
    .nullish()
    .describe("Options that replace the instance's own in this policy, and Distiller's policy arguments"),
});

export const policySchema = z.strictObject({
  pruner: reference.optional(),
  quantizer: reference.extend({ fallback: fallbackSchema.optional() }).optional(),
  allocator: reference.optional(),
  extension: reference.optional(),
  regularizer: reference.optional(),
  lr_scheduler: reference.optional(),
  epochs: z.array(epoch).min(1).optional().describe('Exactly these epochs'),
  starting_epoch: epoch.optional().describe('First epoch'),
  ending_epoch: epoch.optional().describe('The epoch before which it ends (exclusive); starting_epoch + 1 if left out'),
  frequency: z.int().min(1).optional().describe('Every how many epochs; 1 if left out'),
  gate: gateOrNone.optional(),
});
export type Policy = z.output<typeof policySchema>;

export const namesSchema = z
  .union([z.record(z.string(), z.string().min(1)), z.array(z.string().min(1))])
  .describe(
    "For models whose exporter renamed the layers: PyTorch name → the model's name, or PyTorch's names of all layers with weights in the order of the model",
  );

/** All top-level keys. */
export const topKeys = ['version', 'gate', 'names', 'training', ...sections, 'policies'] as const;

/** Distiller's arguments of policies, by section: they say when masks are applied between training steps. */
export const trainingPolicyArgs: { readonly [section in AnySection]?: Readonly<Record<string, z.ZodType>> } = {
  pruners: {
    keep_mask: z.boolean(),
    mini_batch_pruning_frequency: z.int().min(0),
    mask_on_forward_only: z.boolean(),
    mask_gradients: z.boolean(),
    use_double_copies: z.boolean(),
    discard_masks_at_minibatch_end: z.boolean(),
    skip_first_minibatch: z.boolean(),
    fold_batchnorm: z.boolean(),
  },
  regularizers: { keep_mask: z.boolean() },
};
