import * as z from 'zod';
import { heldBy, writtenFormat } from '../../numerics/formats/written.ts';
import type { Pass, Strength } from '../pass.ts';

/** Fractions, and less than 2, have a meaning with `scales: coded` only, which `plannedLayers` checks. */
const width = z.number().min(0.25).max(8);

const share = z.string().regex(/^\s*\d+(?:\.\d+)?\s*%\s*$/, "must be a number, or a share such as '16%'");

/** What an allocation may spend; exactly one of the keys. */
const budget = z
  .union([
    z.strictObject({ weights: z.number().min(0.5).max(8).meta({ description: 'mean bits a weight' }) }),
    z.strictObject({
      bytes: z
        .union([z.number().positive(), share])
        .meta({ description: "bytes of the model's file, or '16%' of the float file" }),
    }),
    z.strictObject({
      bit_operations: z
        .union([z.number().positive(), share])
        .meta({ description: "Σ MACs · weight bits · activation bits, or '60%' of those at 8 by 8 bits" }),
    }),
  ])
  .meta({ description: 'what may be spent: mean bits a weight, bytes of the file, or bit operations' });

export type Budget = z.infer<typeof budget>;

/** The options that every allocator takes. */
export const common = {
  budget: budget.optional(),
  target_sqnr: z
    .number()
    .optional()
    .meta({ description: 'instead of a budget: the SQNR at the output (dB) to reach at the least cost' }),
  cost: z
    .enum(['parameters', 'macs'])
    .default('parameters')
    .meta({ description: 'what is saved under target_sqnr: weight bits or bit operations' }),
  widths: z.array(width).min(1).nullable().default(null).meta({
    description: 'the widths a layer may get; null = 2 to 8, with scales: coded every quarter of a bit from 0.5 to 8',
  }),
  formats: z
    .array(writtenFormat)
    .superRefine((list, ctx) => {
      for (const format of list) heldBy('notWeights')(format, ctx);
    })
    .refine((list) => list.length > 0, 'name at least one format')
    .meta({ minItems: 1 })
    .nullable()
    .default(null)
    .meta({
      description: 'number formats a layer may get, in place of widths; FormatQuantizer reads the plan',
    }),
  first: width.nullable().default(null).meta({ description: 'width of the first layer; null = as any other' }),
  last: width.nullable().default(null).meta({ description: 'width of the last layer; null = as any other' }),
  most_bits: z.number().int().min(2).max(8).default(8).meta({
    description:
      'the most bits a code may take, whatever else is asked; 7 where a processor adds products of bytes in 16 bits (x86-64 without VNNI), with scales: coded as well',
  }),
  limits: z
    .record(z.string(), z.strictObject({ min: width.default(2), max: width.default(8) }))
    .default({})
    .meta({ description: 'layer name or pattern → the least and most bits it may get; the first match wins' }),
  together: z
    .array(z.string())
    .default([])
    .meta({ description: 'patterns: the layers that one matches get the same width' }),
  quantizer: z
    .enum(['PostTrainLinearQuantizer', 'WeightOnlyQuantizer', 'FormatQuantizer'])
    .default('PostTrainLinearQuantizer')
    .meta({ description: 'the quantizer that will read the plan: it decides which layers and widths there are' }),
  scales: z.enum(['mse', 'minmax', 'coded']).default('mse').meta({
    description:
      'how that quantizer chooses its weight scales; coded: the plan gives each layer one step instead, at which its codes take the width on average once WeightEncoder has coded them',
  }),
  rounding: z.enum(['nearest', 'descent']).default('nearest').meta({
    description:
      "how weights will be rounded: to the nearest step, or by AdaRound's descent after the quantizer (FormatQuantizer's own where formats are chosen), which mends some layers far more than others",
  }),
  samples: z.number().int().positive().default(128).meta({ description: 'calibration samples for the output error' }),
};

export type AllocatorOptions = z.infer<z.ZodObject<typeof common>>;

const { widths, first, last, most_bits, limits, together, rounding, samples } = common;

/** The options of an allocator whose plan only the static quantizer reads. */
export const staticOptions = {
  scales: z.enum(['mse', 'minmax']).default('mse').meta({ description: 'how the quantizer chooses its weight scales' }),
  ...{ widths, first, last, most_bits, limits, together, rounding, samples },
};

/** The same with what is not left to choose. */
export const withStatic = <O>(o: O) =>
  ({ ...o, cost: 'parameters', quantizer: 'PostTrainLinearQuantizer', formats: null }) as const;

/** Exactly one of `budget` and `target_sqnr`. */
export function oneConstraint(o: Pick<AllocatorOptions, 'budget' | 'target_sqnr'>): boolean {
  return (o.budget === undefined) !== (o.target_sqnr === undefined);
}

/** What goes with no formats, or with formats alone. */
export function checkFormats(o: AllocatorOptions, ctx: z.core.$RefinementCtx): void {
  const refuse = (key: keyof AllocatorOptions, message: string): void => ctx.addIssue({ code: 'custom', message, path: [key] }); // prettier-ignore
  if (Boolean(o.formats) !== (o.quantizer === 'FormatQuantizer'))
    refuse('quantizer', 'formats and quantizer: FormatQuantizer go together: give both, or neither');
  if (!o.formats) return;
  for (const key of ['widths', 'first', 'last'] as const)
    if (o[key] !== null) refuse(key, "goes without formats: FormatQuantizer's overrides say what single layers are held in"); // prettier-ignore
  if (o.scales === 'coded') refuse('scales', 'formats have scales that are their own');
  const operations = o.budget && 'bit_operations' in o.budget ? 'budget' : o.cost === 'macs' ? 'cost' : undefined;
  if (operations) refuse(operations, 'bit operations are those of integers: formats are paid for in weights or bytes');
}

export const oneConstraintMessage = 'give either a budget ({ weights: 4 }, { bytes: 16% }, …) or a target_sqnr in dB';

/** Where the patterns of the common options stand. */
export const allocatorSelectors: NonNullable<Pass<AllocatorOptions>['selectors']> = (o) => [
  ...Object.keys(o.limits).map((pattern) => ({ pattern, path: ['limits', pattern], over: 'layers' as const })),
  ...o.together.map((pattern, i) => ({ pattern, path: ['together', i], over: 'layers' as const })),
];

/** `16%` → 0.16; undefined for a plain number. */
export function shareOf(value: number | string): number | undefined {
  return typeof value === 'number' ? undefined : Number.parseFloat(value) / 100;
}

/** From what was asked (t = 1) up to 8 bits everywhere (t = 0): a retry buys accuracy with budget. */
function raised(budget: Budget, t: number): Budget {
  const between = (value: number, most: number): number => value + (1 - t) * Math.max(0, most - value);
  if ('weights' in budget) return { weights: between(budget.weights, 8) };
  const relative = (value: number | string, most: number): number | string => {
    const part = shareOf(value);
    // A number has no end that is known here; twice as much takes 4 bits to 8.
    return part === undefined ? between(value as number, 2 * (value as number)) : `${100 * between(part, most)}%`;
  };
  // Weights in int8 are a quarter of the float file, and what stands around them rarely doubles that.
  if ('bytes' in budget) return { bytes: relative(budget.bytes, 0.5) };
  return { bit_operations: relative(budget.bit_operations, 1) };
}

/** A weaker setting of an allocator is a larger budget, or a higher target. */
export function budgetStrength<O extends AllocatorOptions>(): Strength<O> {
  return {
    at: (o, t) =>
      o.budget === undefined
        ? { ...o, target_sqnr: (o.target_sqnr ?? 0) + (1 - t) * 20 }
        : { ...o, budget: raised(o.budget, t) },
    describe: ({ budget: b, target_sqnr: target }) => {
      if (b === undefined) return `SQNR ${target?.toFixed(1)} dB`;
      if ('weights' in b) return `mean ${b.weights.toFixed(2)} bits`;
      const text = (value: number | string): string => {
        const part = shareOf(value);
        return part === undefined ? String(Math.round(value as number)) : `${(100 * part).toFixed(1)} %`;
      };
      return 'bytes' in b ? `${text(b.bytes)} of bytes` : `${text(b.bit_operations)} of bit operations`;
    },
  };
}
