import * as z from 'zod';
import { edit, type Draft } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { initializers, layerName } from '../../graph/query.ts';
import { upgradeOpset } from '../../graph/opset.ts';
import { dimsOf, floatData } from '../../graph/tensor.ts';
import type { QuantParams } from '../../numerics/format.ts';
import { minMaxParams, quantize } from '../../numerics/quantize.ts';
import { prepare } from '../fold/prepare.ts';
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';
import { calibrate, calibration } from './calibrate.ts';
import { distillerQuantizer } from './distiller.ts';
import { embeddings, quantizeEmbedding, type Embedding } from './embedding.ts';
import { bits, layerFormats, overrideSelectors, overrides, resolveOverrides, type LayerFormats } from './formats.ts';
import { activationFormats, activationParams, describeParams, weightParams, type WeightScales } from './params.ts';
import { quantizeBiasOf, quantizeValue, quantizeWeight } from './qdq.ts';
import { quantizedRegion, type Region } from './region.ts';

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
  strength: {
    // Fewer bits are the stronger setting; 8 is the mildest that still runs on integer kernels.
    levels: (o) => [...Array(9 - (o.bits_weights ?? 8)).keys()].map((i) => 1 - i / 8),
    at: (o, t) => ({
      ...o,
      bits_weights: o.bits_weights === null ? null : Math.min(8, o.bits_weights + Math.round((1 - t) * 8)),
    }),
    describe: (o) => `weights ${o.bits_weights ?? 'float'} bit, activations ${o.bits_activations ?? 'float'} bit`,
  },
  apply,
};

async function apply(model: Model, o: StaticOptions, ctx: PassContext): Promise<PassResult> {
  const wide =
    o.bits_weights === 16 ||
    o.bits_activations === 16 ||
    Object.values(o.overrides).some((v) => v.bits_weights === 16 || v.bits_activations === 16);
  const upgraded = upgradeOpset(model, wide ? 21 : 13);
  const prepared = await prepare(upgraded.model, ctx);
  const twin = prepared.model;
  const shapes = await ctx.shapes(twin);
  const tensors = initializers(twin.graph);
  const override = resolveOverrides(o.overrides, twin);
  const formats = new Map(twin.graph.node.map((node) => [node, layerFormats(node, o, ctx.plan, override)]));
  const tables = embeddings(twin, (node) =>
    formats.get(node)?.weights === undefined ? 'left in float by the schedule' : undefined,
  );
  const region = quantizedRegion(twin, shapes, (node) => {
    const format = formats.get(node) as LayerFormats;
    return format.weights === undefined || format.activations === undefined
      ? 'left in float by the schedule'
      : undefined;
  });
  const inputs = activationFormats(region, formats, o.bits_activations ?? 8);
  const notes: string[] = [];
  const params = activationParams(
    region,
    await calibrate(twin, inputs, o.calibration, ctx, (text) => notes.push(text)),
    inputs,
  );
  const { model: quantized, changed } = insert(twin, region, tables.sites, formats, params, tensors, o.weight_scales);
  return {
    model: quantized,
    twin,
    changed,
    skipped: [...region.skipped, ...tables.skipped],
    notes: [...[...upgraded.notes, ...prepared.notes].map((n) => `${n.layer}: ${n.text}`), ...notes],
  };
}

function insert(
  twin: Model,
  region: Region,
  tables: readonly Embedding[],
  formats: ReadonlyMap<NodeProto, LayerFormats>,
  params: ReadonlyMap<string, QuantParams>,
  tensors: ReadonlyMap<string, TensorProto>,
  scales: WeightScales,
): { model: Model; changed: Note[] } {
  const changed: Note[] = [];
  const outputs = new Set(twin.graph.output.map((o) => o.name));
  const model = edit(twin, (draft) => {
    const weights = new Map<string, QuantParams>();
    for (const [node, role] of region.nodes) {
      if (role.kind !== 'kernel') {
        for (const [i, name] of node.input.entries())
          if (region.constants.has(name)) quantizeConstant(draft, node, i, tensors.get(name) as TensorProto);
        continue;
      }
      const input = params.get(region.values.get(node.input[0] ?? '')?.root ?? '') as QuantParams;
      const inputScale = input.scale[0] as number;
      const weight = tensors.get(node.input[role.weight] ?? '') as TensorProto;
      const bias = tensors.get(node.input[role.bias ?? -1] ?? '');
      const own =
        weights.get(weight.name) ??
        weightParams(node, weight, formats.get(node) as LayerFormats, bias, inputScale, scales);
      weights.set(weight.name, own);
      quantizeWeight(draft, node, role.weight, weight, quantize(floatData(weight), dimsOf(weight), own), own);
      if (bias && role.bias !== undefined) quantizeBiasOf(draft, node, role.bias, bias, inputScale, own);
      changed.push({ layer: layerName(node), text: `weights ${describeParams(own)}, input ${describeParams(input)}` });
    }
    for (const [value, plan] of region.values)
      quantizeValue(draft, {
        value,
        root: plan.root,
        params: params.get(plan.root) as QuantParams,
        reads: (node) => plan.integer || region.nodes.has(draft.origin(node)),
        isOutput: plan.integer && outputs.has(value),
      });
    for (const table of tables) changed.push(quantizeEmbedding(draft, table));
  });
  return { model, changed };
}

/** A constant that an integer Add, Mul or Concat reads: uint8, one scale. */
function quantizeConstant(draft: Draft, node: NodeProto, input: number, tensor: TensorProto): void {
  const format = { kind: 'int', bits: 8, signed: false, symmetric: false } as const;
  const params = minMaxParams(floatData(tensor), dimsOf(tensor), format, { per: 'tensor' }, tensor.name);
  quantizeWeight(draft, node, input, tensor, quantize(floatData(tensor), dimsOf(tensor), params), params);
}
