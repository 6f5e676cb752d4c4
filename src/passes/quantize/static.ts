import * as z from 'zod';
import type { Layer } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { layerName } from '../../graph/query.ts';
import type { QuantParams } from '../../numerics/format.ts';
import { given, must } from '../../util/must.ts';
import { prepare } from '../fold/prepare.ts';
import { noteLine, type Pass, type PassContext, type PassResult } from '../pass.ts';
import { calibrate, calibration } from './calibrate.ts';
import { distillerQuantizer } from './distiller.ts';
import { embeddings } from './embedding.ts';
import { storageOpset } from './folded.ts';
import { beforeRelu } from './gemm_relu.ts';
import { bits, layerFormats, overrideSelectors, overrides, resolveOverrides, type LayerFormats } from './formats.ts';
import { insertQdq, type StoredWeight } from './insert.ts';
import { activationFormats, activationParams, inputParams, weightParams, type WeightScales } from './params.ts';
import { kernelLayers, quantizedRegion, type Region } from './region.ts';
import { isRecurrent, recurrentOption, recurrentOpset } from './recurrent.ts';
import { weightKey, weightLayers } from './targets.ts';
import { retied, untied } from './tied.ts';
import { smallestType } from './weights.ts';
import { weightsOnlyQuantizer, type WeightsOnlyOptions } from './weights_only.ts';

const options = z.strictObject({
  bits_weights: bits.default(8).meta({ description: 'bits of the weights: 2 to 8, or 16' }),
  bits_activations: bits.default(8).meta({ description: 'bits of the activations: 2 to 8, or 16' }),
  per_channel: z.boolean().default(true).meta({ description: 'one weight scale an output channel' }),
  weights_symmetric: z.boolean().default(true),
  weight_scales: z
    .enum(['minmax', 'mse'])
    .default('minmax')
    .meta({ description: 'from the extremes, or searched for the least squared error: better below 6 bits' }),
  calibration,
  recurrent: recurrentOption,
  overrides: overrides.default({}),
});

export type StaticOptions = z.infer<typeof options>;

/**
 * Static quantization in QDQ form: weights and biases are stored as integers, activations go through QuantizeLinear and
 * DequantizeLinear with scales calibrated on data, placed so that onnxruntime fuses every quantized layer to an integer kernel.
 */
export const staticQuantizer: Pass<StaticOptions> = {
  name: 'quantize/static',
  section: 'quantizers',
  classes: ['PostTrainLinearQuantizer', 'StaticQuantizer'],
  summary: 'int8 weights and activations with calibrated scales (QDQ), fused to integer kernels',
  source: 'Jacob et al. 2018 (arXiv 1712.05877); ONNX QuantizeLinear/DequantizeLinear; onnxruntime QDQ fusion rules',
  options,
  otherForm: distillerQuantizer,
  selectors: overrideSelectors,
  inBodies: {
    unseen: ({ bits_weights: width, overrides: own }) => ({
      apply: async (body, ctx) =>
        width === null || width > 8
          ? { model: body, changed: [], skipped: [] }
          : weightsOnlyQuantizer.apply(body, weightsAlone(width, own), ctx),
      text: 'there is nothing to calibrate by, so that only weights are quantized there and the arithmetic stays float',
    }),
  },
  strength: {
    // Fewer bits are the stronger setting; 8 is the mildest that still runs on integer kernels.
    levels: (o) => [...Array(Math.max(0, 9 - (o.bits_weights ?? 8))).keys()].map((i) => 1 - i / 8),
    at: (o, t) => ({
      ...o,
      bits_weights: o.bits_weights === null ? null : Math.min(8, o.bits_weights + Math.round((1 - t) * 8)),
    }),
    describe: (o) => `weights ${o.bits_weights ?? 'float'} bit, activations ${o.bits_activations ?? 'float'} bit`,
  },
  apply,
};

async function apply(model: Model, o: StaticOptions, ctx: PassContext): Promise<PassResult> {
  const prepared = await prepare(
    model,
    ctx,
    Math.max(neededOpset(o), recurrentOpset(model, o.bits_weights, o.recurrent)),
  );
  const { model: twin, copies } = untied(prepared.model);
  const shapes = await ctx.shapes(twin);
  const override = resolveOverrides(o.overrides, twin);
  const formats = new Map(twin.graph.node.map((node) => [node, layerFormats(node, o, ctx.plan, override)]));
  const formatOf = (node: NodeProto): LayerFormats => must(formats, node, 'the format of');
  const { layers, skipped, kept } = weightLayers(twin);
  const why = new Map(skipped.map(({ layer, text }) => [layer, text]));
  const fit = new Set(layers.map(({ node }) => node));
  const region = quantizedRegion(twin, shapes, (node) => {
    const { weights, activations } = formatOf(node);
    if (weights === undefined) return 'left in float by the schedule';
    if (activations === undefined) return 'its activations are left in float by the schedule';
    return fit.has(node) ? undefined : (why.get(layerName(node)) ?? kept.get(node));
  });
  const inputs = activationFormats(region, formats, o.bits_activations ?? 8);
  const notes: string[] = [];
  const ranges = await calibrate(twin, inputs, o.calibration, ctx, (text) => notes.push(text));
  const params = activationParams(region, ranges, inputs);
  const kernels = kernelLayers(region, layers);
  const stored = storedWeights(kernels, region, formatOf, params, o.weight_scales);
  const coded = stored.filter(({ params }) => params.format.bits <= 8 && params.zeroPoint.every((zero) => zero === 0));
  const tables = embeddings(
    twin,
    coded.flatMap((weight) => weight.layers),
    (node) => (formatOf(node).weights === undefined ? 'left in float by the schedule' : kept.get(node)),
  );
  const recurrent = layers.filter(
    (layer) => o.recurrent !== 'float' && isRecurrent(layer) && (formatOf(layer.node).weights?.kind ?? '') === 'int',
  );
  const alone = layers.filter(
    ({ node, product }) =>
      !region.nodes.has(node) &&
      product.as !== 'Gather' &&
      !recurrent.some((layer) => layer.node === node) &&
      formatOf(node).weights !== undefined &&
      formatOf(node).activations === undefined,
  );
  const relus = beforeRelu(twin, shapes);
  const plan = {
    region,
    tables: tables.sites,
    stored,
    params,
    alone,
    recurrent: { layers: recurrent, form: o.recurrent },
    relus,
    formatOf,
    scales: o.weight_scales,
  };
  const { model: quantized, changed } = insertQdq(twin, plan);
  const only = new Set([...alone, ...recurrent].map(({ name }) => name));
  const left = region.skipped.filter(({ layer }) => !only.has(layer));
  // Layers that are no kernel's and of which the region says nothing (an Einsum with a vector), and those inside bodies.
  const told = new Set([...left, ...tables.skipped].map(({ layer }) => layer));
  const unnamed = skipped.filter(({ layer }) => !told.has(layer) && !only.has(layer));
  return {
    model: retied(quantized, copies),
    twin,
    changed,
    skipped: [...left, ...unnamed, ...tables.skipped],
    notes: [...prepared.notes.map(noteLine), ...notes],
  };
}

/** The widths of weights for a quantizer that leaves activations alone; what is wider than its own 8 bits stays float. */
function weightsAlone(width: number, own: StaticOptions['overrides']): WeightsOnlyOptions {
  const narrow = Object.entries(own).flatMap(([layer, { bits_weights: bits }]) =>
    bits === undefined ? [] : [[layer, { bits_weights: bits === null || bits > 8 ? null : bits }] as const],
  );
  const given = { bits_weights: width, storage: 'folded', overrides: Object.fromEntries(narrow) };
  return weightsOnlyQuantizer.options.parse(given);
}

/** 16 bits are known from operator set 21 on, and so are the narrow types that weights without quantized activations are held in. */
function neededOpset(o: StaticOptions): number {
  const own = [{ bits_weights: o.bits_weights, bits_activations: o.bits_activations }, ...Object.values(o.overrides)];
  const wide = own.some((v) => v.bits_weights === 16 || v.bits_activations === 16);
  const alone = own.some((v) => v.bits_activations === null)
    ? own.flatMap((v) => (v.bits_weights == null ? [] : [storageOpset(smallestType(v.bits_weights, true))]))
    : [];
  return Math.max(wide ? 21 : 13, ...alone);
}

/**
 * Scales of the kernels' weights. Layers that share a tensor share its codes only where they see the same outputs in it and are to
 * hold it in the same format: onnxruntime's QGemm takes the scales along one axis for all that read an initializer.
 */
function storedWeights(
  kernels: readonly Layer[],
  region: Region,
  formatOf: (node: NodeProto) => LayerFormats,
  params: ReadonlyMap<string, QuantParams>,
  scales: WeightScales,
): StoredWeight[] {
  const groups = new Map<string, Layer[]>();
  for (const layer of kernels) {
    const { weights, perChannel } = formatOf(layer.node);
    const key = weightKey(layer, [weights, perChannel]);
    groups.set(key, [...(groups.get(key) ?? []), layer]);
  }
  return [...groups.values()].map((layers) => {
    const [{ node, weight }] = layers as [Layer];
    const { weights, perChannel } = formatOf(node);
    const biases = layers.flatMap((layer) =>
      layer.bias ? [{ bias: layer.bias, inputScale: inputParams(layer, region, params).scale[0]! }] : [],
    );
    return {
      layers,
      params: weightParams(weight, given(weights, 'the format of weights'), perChannel, biases, scales),
    };
  });
}
