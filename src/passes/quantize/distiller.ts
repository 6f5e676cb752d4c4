import * as z from 'zod';
import type { OtherForm } from '../pass.ts';

const width = z.int().min(1).max(32).nullish();
const modes = ['SYMMETRIC', 'SYMMETRIC_RESTRICTED', 'ASYMMETRIC_SIGNED', 'ASYMMETRIC_UNSIGNED'] as const;
const mode = z.enum(modes);
// None is how older files of Distiller have NONE.
const clip = z.enum(['NONE', 'None', 'AVG', 'N_STD', 'GAUSS', 'LAPLACE']);
const count = z.int().min(1).nullish();
const flag = z.boolean().optional();

const layer = {
  bits_activations: width,
  bits_parameters: width,
  bits_weights: width,
  bits_bias: width,
  bits_accum: width,
  mode: z.union([mode, z.strictObject({ activations: mode.optional(), weights: mode.optional() })]).optional(),
  clip_acts: z.union([clip, z.strictObject({ activations: clip.optional() })]).optional(),
  clip_n_stds: z.number().positive().nullish(),
  clip_half_range: flag,
  per_channel_wts: flag,
  fp16: flag,
  fpq_module: z.union([z.enum(['16', '32', '64']), z.literal([16, 32, 64])]).nullish(),
  scale_approx_mult_bits: count,
  inputs_quant_auto_fallback: flag,
  save_fp_weights: flag,
  also_clip_weights: flag,
};
const ofLayer = z.strictObject({
  ...layer,
  quantizable: flag,
  quantize_inputs: flag,
  fake: flag,
  input_overrides: z.unknown().optional(),
  output_bits: width,
});
const arguments_ = z.strictObject({
  ...layer,
  model_activation_stats: z.union([z.string(), z.record(z.string(), z.unknown())]).nullish(),
  overrides: z.record(z.string(), ofLayer).nullish(),
});
type Layer = z.infer<typeof ofLayer>;

const methods = {
  NONE: 'minmax',
  None: 'minmax',
  AVG: 'average_minmax',
  N_STD: 'n_std',
  GAUSS: 'aciq_gauss',
  LAPLACE: 'aciq_laplace',
} as const satisfies Record<z.infer<typeof clip>, string>;

/** What qtool decides by itself, or does not do: its argument, and why it changes nothing. */
const idle: Readonly<Record<string, string>> = {
  bits_bias: 'biases are int32 in onnxruntime, whatever the width of the weights',
  bits_accum: "onnxruntime's integer kernels accumulate in 32 bits",
  clip_half_range: 'ranges behind a Relu begin at zero anyway',
  fp16: 'this quantizer leaves what it does not quantize in float32',
  fpq_module:
    'this quantizer leaves what it does not quantize in float32, and writes no layer that only pretends to be quantized',
  fake: 'a layer is quantized or left in float: none only pretends to be',
  save_fp_weights: 'the float model stays as it is, beside the quantized one',
  also_clip_weights: 'weights keep their whole range; weight_scales: mse searches for a narrower one',
  quantize_inputs: "a layer's input has the format of the value, whoever reads it",
  scale_approx_mult_bits: 'onnxruntime multiplies by float scales',
  inputs_quant_auto_fallback: 'inputs that are not quantized stay in float, each with its reason in the report',
  model_activation_stats: 'statistics are collected from the calibration data of the run',
};
const everywhere: Readonly<Record<string, string>> = {
  clip_acts: 'one calibration method serves all layers of an instance',
  clip_n_stds: 'one calibration method serves all layers of an instance',
  mode: 'one mode serves all layers of an instance',
  input_overrides: "a layer's input has the format of the value, whoever reads it",
  output_bits: "a layer's output has the format of the layer that reads it",
};
// These say something where they are false.
const whenFalse: readonly string[] = ['quantize_inputs', 'fake', 'inputs_quant_auto_fallback'];

/** The arguments of Distiller's PostTrainLinearQuantizer, and what they are in qtool's own words. */
export const distillerQuantizer: OtherForm = {
  keys: [...new Set([...Object.keys(arguments_.shape), ...Object.keys(ofLayer.shape)])].filter(
    (key) => !['bits_activations', 'bits_weights', 'overrides'].includes(key),
  ),
  options: arguments_,
  toOptions(given) {
    const o = given as z.infer<typeof arguments_>;
    const notes = Object.keys(o).flatMap((key) => remark(key, (o as Record<string, unknown>)[key], idle));
    const own = { bits_weights: 8, bits_activations: 8, ...layerOptions(o) };
    const overrides: Record<string, unknown> = {};
    for (const [pattern, entry] of Object.entries(o.overrides ?? {})) {
      overrides[pattern] = layerOptions(entry);
      for (const [key, value] of Object.entries(entry))
        notes.push(...remark(`overrides.${pattern}.${key}`, value, { ...idle, ...everywhere }, key));
      notes.push(...floatWeights({ ...own, ...layerOptions(entry) }, `overrides.${pattern}.`));
    }
    notes.push(...floatWeights(own, ''));
    const weights = typeof o.mode === 'string' ? o.mode : o.mode?.weights;
    const activations = typeof o.mode === 'string' ? o.mode : o.mode?.activations;
    if (activations?.startsWith('SYMMETRIC'))
      notes.push('mode: activations are uint8 with a zero point, which is never coarser than a symmetric range');
    const cut = (typeof o.clip_acts === 'string' ? o.clip_acts : o.clip_acts?.activations) ?? 'NONE';
    const options = {
      ...own,
      per_channel: o.per_channel_wts ?? false,
      weights_symmetric: !weights?.startsWith('ASYMMETRIC'),
      calibration: {
        method: methods[cut],
        ...(cut === 'N_STD' && typeof o.clip_n_stds === 'number' ? { n_stds: o.clip_n_stds } : {}),
      },
      overrides,
    };
    return { options, notes };
  },
};

function remark(place: string, value: unknown, reasons: Readonly<Record<string, string>>, key = place): string[] {
  const reason = reasons[key];
  const silent = value === undefined || value === null || (value === false && !whenFalse.includes(key));
  return reason === undefined || silent ? [] : [`${place}: ${reason}`];
}

/** Distiller rounds a layer's output by itself; here integers come in with the weights' or not at all. */
function floatWeights(o: LayerOptions, at: string): string[] {
  return o.bits_weights === null && typeof o.bits_activations === 'number'
    ? [`${at}bits_activations: a layer whose weights stay in float reads float activations too`]
    : [];
}

interface LayerOptions {
  readonly bits_weights?: number | null;
  readonly bits_activations?: number | null;
  readonly per_channel?: boolean;
}

/** `bits_activations: null` with bits for the weights is weights only: their codes are stored, and computed with in float. */
function layerOptions({
  bits_activations,
  bits_parameters,
  bits_weights,
  per_channel_wts,
  quantizable,
}: Layer): LayerOptions {
  if (quantizable === false) return { bits_weights: null, bits_activations: null };
  const weights = bits_parameters === undefined ? bits_weights : bits_parameters;
  return {
    ...(bits_activations === undefined ? {} : { bits_activations }),
    ...(weights === undefined ? {} : { bits_weights: weights }),
    ...(per_channel_wts === undefined ? {} : { per_channel: per_channel_wts }),
  };
}
