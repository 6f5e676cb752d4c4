import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import { assignNames, layerFacts } from '../../graph/names.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { layerName } from '../../graph/query.ts';
import type { NumberFormat } from '../../numerics/format.ts';
import type { Pass, Plan } from '../pass.ts';

const narrow = z.number().int().min(2).max(8);
const wide = z.literal(16);
/** What leaves a width alone, in words of a schedule. */
export const float = [z.literal(32), z.literal('float'), z.null()] as const;
export const asNumber = (value: number | 'float' | null): number | null =>
  value === 'float' || value === 32 ? null : value;

/** A bit-width of a schedule: 2 to 8 or 16; `float` (or Distiller's null, or 32) leaves it alone. */
export const bits = z.union([narrow, wide, ...float]).transform(asNumber);

/** What one entry of `overrides` may say about the layers it matches. */
export const layerOptions = z.strictObject({
  bits_weights: bits.optional().meta({ description: 'bits of the weights: 2 to 8, 16, or float' }),
  bits_activations: bits.optional().meta({ description: "bits of the layer's input: 8, 16, or float" }),
  per_channel: z.boolean().optional().meta({ description: 'one scale an output channel instead of one a tensor' }),
});

export type LayerOptions = z.infer<typeof layerOptions>;

/** Layer name, weight name, or `op:Conv` → options; the first match wins, `'*'` comes last. */
export const overrides = z.record(z.string(), layerOptions);

/** The same for quantizers that heed less: a width alone, of any kind, of the narrow ones with the scales, or 16 bits. */
export const widthOverrides = z.record(z.string(), layerOptions.pick({ bits_weights: true }));
export const narrowOverrides = z.record(
  z.string(),
  layerOptions.pick({ per_channel: true }).extend({
    bits_weights: z
      .union([narrow, ...float])
      .transform(asNumber)
      .optional()
      .meta({ description: 'bits of the weights: 2 to 8, or float' }),
  }),
);
export const floatOverrides = z.record(
  z.string(),
  z.strictObject({
    bits_weights: z
      .union([wide, ...float])
      .transform(asNumber)
      .optional()
      .meta({ description: '16, or float' }),
  }),
);

/** Node → what `overrides` says about it. */
export type Overrides = (node: NodeProto) => LayerOptions | undefined;

/** Resolves entries by layer against a model once: node → what they say about it. */
export function resolveOverrides<T = LayerOptions>(
  entries: Readonly<Record<string, T>>,
  model: Model,
): (node: NodeProto) => T | undefined {
  const { nodes } = assignNames(Object.keys(entries), layerFacts(model), 'layers');
  return (node) => entries[nodes.get(layerName(node)) ?? ''];
}

/** Where the patterns of `overrides` stand, for a schedule to check them against the model. */
export const overrideSelectors: NonNullable<
  Pass<{ readonly overrides: Readonly<Record<string, unknown>> }>['selectors']
> = (o) => Object.keys(o.overrides).map((pattern) => ({ pattern, path: ['overrides', pattern], over: 'layers' }));

/** The formats of one layer; undefined = float. Precedence: schedule overrides > plan > the pass's own default. */
export interface LayerFormats {
  readonly weights: NumberFormat | undefined;
  readonly activations: NumberFormat | undefined;
  readonly perChannel: boolean;
}

export interface FormatDefaults {
  readonly bits_weights: number | null;
  readonly bits_activations: number | null;
  readonly per_channel: boolean;
  readonly weights_symmetric: boolean;
}

/** The format of weights of a width; undefined = float. */
export const weightFormat = (width: number | null, symmetric: boolean): NumberFormat | undefined =>
  width === null ? undefined : { kind: 'int', bits: width, signed: symmetric, symmetric, narrow: symmetric };

/** U8 activations: onnxruntime rewrites S8 ones pair by pair, and a fan-out breaks that (docs/passes/quantize.md). */
const activationFormat = (width: number | null): NumberFormat | undefined =>
  width === null ? undefined : { kind: 'int', bits: width, signed: false, symmetric: false };

export function layerFormats(node: NodeProto, defaults: FormatDefaults, plan: Plan, override: Overrides): LayerFormats {
  const own = override(node);
  const planned = plan.get(layerName(node));
  const weights = (width: number | null): NumberFormat | undefined => weightFormat(width, defaults.weights_symmetric);
  return {
    weights:
      own?.bits_weights !== undefined
        ? weights(own.bits_weights)
        : planned?.weights?.kind === 'float'
          ? undefined
          : (planned?.weights ?? weights(defaults.bits_weights)),
    activations:
      own?.bits_activations !== undefined
        ? activationFormat(own.bits_activations)
        : (planned?.activations ?? activationFormat(defaults.bits_activations)),
    perChannel: own?.per_channel ?? defaults.per_channel,
  };
}
