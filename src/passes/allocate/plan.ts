import type { Model } from '../../graph/model.ts';
import { modelBytes } from '../../graph/file.ts';
import { innerLayers } from '../../graph/layer.ts';
import { opset } from '../../graph/query.ts';
import { quantizedLayers } from '../../graph/quantized.ts';
import { typeOf } from '../../graph/tensor.ts';
import { decibels } from '../../numerics/error.ts';
import { QtoolError } from '../../util/error.ts';
import { initializerBytes } from '../encode/store.ts';
import { prepare } from '../fold/prepare.ts';
import { weightLayers } from '../quantize/targets.ts';
import { untied } from '../quantize/tied.ts';
import { noteLine, type Note, type PassContext, type PassResult, type Plan } from '../pass.ts';
import { formatCosts } from './choices.ts';
import { packed } from './format_bytes.ts';
import { plannedFormat, plannedLayers, widthText, type PlannedLayer } from './layers.ts';
import type { AllocatorOptions } from './options.ts';
import { remembered } from './remembered.ts';
import { withRounded, type RoundedLayer } from './rounded.ts';
import type { Rounder } from './rounder.ts';
import { packedBytes } from './spend.ts';

/** The model as the quantizer will see it, and the layers that widths are chosen for. */
export interface Ground {
  readonly float: Model;
  readonly layers: readonly PlannedLayer[];
  readonly skipped: readonly Note[];
  /** Bytes of the packed file beside the layers' weights, where formats are chosen: those have what decodes them in their own. */
  readonly other?: number;
}

/**
 * Folds the model as quantizers do first, so that the names in the plan are those they will find.
 * @param measured whether what a format does to the outputs is measured for each, so that none is left out beforehand.
 * @throws QtoolError `schedule` for a model that is quantized already, or has no layer to choose widths for.
 */
export async function prepareGround(
  model: Model,
  o: AllocatorOptions,
  ctx: PassContext,
  measured = false,
): Promise<Ground> {
  if (ctx.twin !== undefined)
    throw new QtoolError('schedule', 'the model is quantized already', {
      hint: 'put the allocator before the quantizer',
    });
  const { model: float } = untied((await prepare(model, ctx, 13)).model);
  const { formats } = o;
  const costs =
    formats &&
    (await remembered(ctx, 'costs', model, formats, [], () =>
      formatCosts(weightLayers(float).layers, formats, opset(float), ctx),
    ));
  const held = costs ? { costs, all: measured } : undefined;
  const { layers, skipped } = plannedLayers(float, await ctx.shapes(float), o, held);
  if (layers.length === 0) {
    const none = 'the model has no layer that the quantizer could store in fewer bits';
    const [first] = quantizedLayers(model);
    const inner = innerLayers(model);
    if (first === undefined && inner.length > 0)
      throw new QtoolError('schedule', `${none}: ${inner.length} lie in bodies of If, Loop or Scan or in local functions, where an allocator plans nothing`, {
        hint: 'take a schedule without an allocator, such as int8 or w4-weight-only, which store those in fewer bits too',
      }); // prettier-ignore
    throw first === undefined
      ? new QtoolError('schedule', none, { hint: skipped.map(noteLine)[0] })
      : new QtoolError('schedule', `${none}: it is quantized already (${first})`, { hint: 'begin from the float model that it was made from' }); // prettier-ignore
  }
  return { float, layers, skipped, ...(formats ? { other: await bytesBeside(float, layers, ctx) } : {}) };
}

async function bytesBeside(float: Model, layers: readonly PlannedLayer[], ctx: PassContext): Promise<number> {
  const weights = layers.flatMap((layer) => layer.weights);
  const stored = weights.map(({ weight: { tensor, dims } }) => initializerBytes('w0', typeOf(tensor), dims));
  return stored.reduce((rest, bytes) => rest - bytes, modelBytes(await packed(float, ctx, { forms: [] })));
}

/** The plan of these widths; undefined = float. */
export const planOf = (layers: readonly PlannedLayer[], bits: readonly (number | undefined)[]): Plan =>
  new Map(
    layers.flatMap((layer, i) => {
      const weights = bits[i] === undefined ? ({ kind: 'float', bits: 32 } as const) : plannedFormat(layer, bits[i]);
      return layer.nodes.map((name) => [name, { weights }] as const);
    }),
  );

/** The same with a note on the packed weights, and after each reason the rule that a layer is under. */
export async function planResult(
  model: Model,
  ground: Ground,
  bits: readonly number[],
  round: Rounder,
  reason: (layer: PlannedLayer, index: number) => string,
  notes: readonly string[],
): Promise<PassResult> {
  const { layers } = ground;
  const parameters = layers.reduce((sum, layer) => sum + layer.parameters, 0);
  const spent = layers.reduce((sum, layer, i) => sum + layer.parameters * bits[i]!, 0);
  const packed = layers.reduce((sum, layer, i) => sum + packedBytes(layer, bits[i]!), 0);
  const mean = `mean ${(spent / parameters).toFixed(2)} bits a weight: ${packed} bytes of packed weights, at 8 bits ${parameters}`;
  const ruled = (layer: PlannedLayer, i: number): string =>
    `${reason(layer, i)}${layer.rule === '' ? '' : ` (${layer.rule})`}`;
  return allocated(model, ground, bits, round, ruled, [mean, ...notes]);
}

/**
 * What an allocator returns: the model as it was, the plan, a sentence a layer, and the model the gate is to judge.
 * @param bits of each layer; undefined = float.
 */
export async function allocated(
  model: Model,
  { float, layers, skipped }: Ground,
  bits: readonly (number | undefined)[],
  round: Rounder,
  reason: (layer: PlannedLayer, index: number) => string,
  notes: readonly string[],
): Promise<PassResult> {
  const rounded = new Map<PlannedLayer, RoundedLayer>();
  for (const [i, layer] of layers.entries()) if (bits[i] !== undefined) rounded.set(layer, await round(layer, bits[i]));
  return {
    model,
    plan: planOf(layers, bits),
    preview: withRounded(float, rounded),
    changed: layers.map((layer, i) => ({
      layer: layer.nodes.join(', '),
      text: `${bits[i] === undefined ? 'float' : widthText(layer, bits[i])}: ${[reason(layer, i), rounded.get(layer)?.remark ?? []].flat().join('; ')}`,
    })),
    skipped,
    notes,
  };
}

/** `9,216 parameters`. */
export const counted = (layer: PlannedLayer): string => `${layer.parameters.toLocaleString('en-US')} parameters`;

/** A noise-to-signal ratio as dB of SQNR. */
export const dB = (noise: number): string => (noise <= 0 ? '∞ dB' : `${decibels(1, noise).toFixed(1)} dB`);
