import * as z from 'zod';
import { makeNode } from '../../graph/build.ts';
import { edit, type Draft } from '../../graph/edit.ts';
import type { Layer } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { initializers, layerName } from '../../graph/query.ts';
import { upgradeOpset } from '../../graph/opset.ts';
import { dimsOf, floatData } from '../../graph/tensor.ts';
import { affineFormat } from '../../numerics/affine.ts';
import type { QuantParams } from '../../numerics/format.ts';
import { minMaxParams, quantize } from '../../numerics/quantize.ts';
import { given, must } from '../../util/must.ts';
import { prepare } from '../fold/prepare.ts';
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';
import { calibrate, calibration } from './calibrate.ts';
import { distillerQuantizer } from './distiller.ts';
import { embeddings, quantizeEmbedding, type Embedding, type Stores } from './embedding.ts';
import { storageOpset } from './folded.ts';
import { beforeRelu } from './gemm_relu.ts';
import { bits, layerFormats, overrideSelectors, overrides, resolveOverrides, type LayerFormats } from './formats.ts';
import {
  activationFormats,
  activationParams,
  affineParams,
  describeParams,
  weightParams,
  type WeightScales,
} from './params.ts';
import { addBias, addDequantized, addParams, quantizeValue, replaceInput, type ParamNames } from './qdq.ts';
import { kernelLayers, quantizedRegion, type Region } from './region.ts';
import { storeWeight } from './store_weight.ts';
import { weightKey, weightLayers } from './targets.ts';
import { restorer, retied, untied, type MatrixCodes } from './tied.ts';
import { smallestType } from './weights.ts';

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
  const upgraded = upgradeOpset(model, neededOpset(o));
  const prepared = await prepare(upgraded.model, ctx);
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
    (node) => (formatOf(node).weights === undefined ? 'left in float by the schedule' : undefined),
  );
  const alone = layers.filter(
    ({ node, product }) =>
      !region.nodes.has(node) &&
      product.as !== 'Gather' &&
      formatOf(node).weights !== undefined &&
      formatOf(node).activations === undefined,
  );
  const relus = beforeRelu(twin, shapes);
  const plan = { stored, params, alone, relus, formatOf, scales: o.weight_scales };
  const { model: quantized, changed } = insert(twin, region, tables.sites, plan);
  const only = new Set(alone.map(({ name }) => name));
  const left = region.skipped.filter(({ layer }) => !only.has(layer));
  // Layers that are no kernel's and of which the region says nothing (an Einsum with a vector), and those inside bodies.
  const told = new Set([...left, ...tables.skipped].map(({ layer }) => layer));
  const unnamed = skipped.filter(({ layer }) => !told.has(layer) && !only.has(layer));
  return {
    model: retied(quantized, copies),
    twin,
    changed,
    skipped: [...left, ...unnamed, ...tables.skipped],
    notes: [...[...upgraded.notes, ...prepared.notes].map((n) => `${n.layer}: ${n.text}`), ...notes],
  };
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

/** A weight as it will be stored: for all layers that see the same matrix in it and hold it alike. */
interface StoredWeight {
  readonly layers: readonly Layer[];
  readonly params: QuantParams;
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
      layer.bias ? [{ bias: layer.bias, inputScale: inputScale(layer, region, params) }] : [],
    );
    return {
      layers,
      params: weightParams(weight, given(weights, 'the format of weights'), perChannel, biases, scales),
    };
  });
}

/** What is known of a layer's input: its range, by the value its scale comes from. */
function inputParams({ node, product }: Layer, region: Region, params: ReadonlyMap<string, QuantParams>): QuantParams {
  const value = node.input[product.data] ?? '';
  return must(params, must(region.values, value, 'the scale of').root, 'the range of');
}

const inputScale = (layer: Layer, region: Region, params: ReadonlyMap<string, QuantParams>): number =>
  inputParams(layer, region, params).scale[0]!;

interface Plan {
  readonly stored: readonly StoredWeight[];
  /** By root value. */
  readonly params: ReadonlyMap<string, QuantParams>;
  /** Layers of which the weights alone are to be held in fewer bits. */
  readonly alone: readonly Layer[];
  /** Those that onnxruntime would dequantize at every run. */
  readonly relus: ReadonlySet<NodeProto>;
  readonly formatOf: (node: NodeProto) => LayerFormats;
  readonly scales: WeightScales;
}

function insert(
  twin: Model,
  region: Region,
  tables: readonly Embedding[],
  { stored, params, alone, relus, formatOf, scales }: Plan,
): { model: Model; changed: Note[] } {
  const tensors = initializers(twin.graph);
  const outputs = new Set(twin.graph.output.map((o) => o.name));
  const weightOf = new Map(stored.flatMap((weight) => weight.layers.map((layer) => [layer.node, { weight, layer }])));
  const changed: Note[] = [];
  const model = edit(twin, (draft) => {
    const codes = new Map<StoredWeight, string>();
    const constants = new Map<string, string>();
    for (const [node, role] of region.nodes) {
      if (role.kind !== 'kernel') {
        for (const [i, name] of node.input.entries()) {
          if (!region.constants.has(name)) continue;
          const value = constants.get(name) ?? addConstant(draft, must(tensors, name, 'the constant'));
          constants.set(name, value);
          replaceInput(draft, node, i, value);
        }
        continue;
      }
      const { weight, layer } = must(weightOf, node, 'the weight of');
      const input = inputParams(layer, region, params);
      const { tensor, dims } = layer.weight;
      const value =
        codes.get(weight) ??
        addDequantized(draft, tensor.name, dims, quantize(floatData(tensor), dims, weight.params), weight.params);
      codes.set(weight, value);
      replaceInput(draft, node, role.weight, value);
      if (layer.bias && role.bias !== undefined) {
        const scale = input.scale[0]!;
        const bias = addBias(draft, layer.bias.name, floatData(layer.bias), scale, weight.params.scale);
        replaceInput(draft, node, role.bias, bias);
      }
      const text = `weights ${describeParams(weight.params)}, input ${describeParams(input)}`;
      changed.push({ layer: layer.name, text });
    }
    const roots = new Map<string, ParamNames>();
    for (const [value, plan] of region.values) {
      const names = roots.get(plan.root) ?? addParams(draft, plan.root, [], must(params, plan.root, 'the range of'));
      roots.set(plan.root, names);
      const { source } = quantizeValue(draft, {
        value,
        params: names,
        reads: (node) => plan.integer || region.nodes.has(draft.origin(node)),
        isOutput: plan.integer && outputs.has(value),
      });
      if (plan.guarded) guard(draft, value, source);
    }
    const stores: Stores = { own: new Map(), tied: new Map() };
    const codesOf = (layer: Layer): MatrixCodes => {
      const { weight } = must(weightOf, layer.node, 'the weight of');
      const [stored = '', scale = ''] = restorer(draft, must(codes, weight, 'the codes of')).input;
      const perChannel = weight.params.granularity.per === 'channel';
      return { codes: stored, scale, perChannel, turned: layer.weight.axes?.out[0] === 1 };
    };
    for (const table of tables) changed.push(quantizeEmbedding(draft, table, stores, codesOf));
    const folded = new Map<string, readonly string[]>();
    for (const layer of alone) {
      const relu = relus.has(layer.node);
      changed.push(storeAlone(draft, layer, formatOf(layer.node), { scales, relu }, folded));
    }
  });
  return { model, changed };
}

/**
 * Keeps the float layer before a quantized value in float: onnxruntime's WeightBiasQuantization would quantize its weights at load, with
 * one scale for all, where it stands between DequantizeLinear and QuantizeLinear. A Max of one value is no work and no part of its
 * pattern, and is not optimized away (seen in 1.30).
 */
function guard(draft: Draft, value: string, source: string): void {
  const passed = draft.freshName(`${value}_guarded`);
  draft.rewire(source, passed, (node, input) => input === 0 && node.op_type === 'QuantizeLinear');
  draft.addNode(makeNode('Max', [source], [passed]));
}

/** A constant that an integer Add, Mul or Concat reads: uint8, one scale. */
function addConstant(draft: Draft, tensor: TensorProto): string {
  const format = { kind: 'int', bits: 8, signed: false, symmetric: false } as const;
  const [data, dims] = [floatData(tensor), dimsOf(tensor)];
  const params = minMaxParams(data, dims, format, { per: 'tensor' }, tensor.name);
  return addDequantized(draft, tensor.name, dims, quantize(data, dims, params), params);
}

/** Weights in fewer bits, activations in float. */
function storeAlone(
  draft: Draft,
  layer: Layer,
  { weights, perChannel }: LayerFormats,
  { scales, relu }: { readonly scales: WeightScales; readonly relu: boolean },
  stored: Map<string, readonly string[]>,
): Note {
  const format = affineFormat(given(weights, 'the format of weights'));
  const { rows, columns } = layer.weight.view();
  const data = layer.weight.rows();
  const own = affineParams(data, [rows, columns], format, perChannel ? 0 : undefined, scales, layer.weight.tensor.name);
  const each = (values: Float32Array | Int32Array): number[] =>
    Array.from({ length: rows }, (_, r) => values[perChannel ? r : 0]!);
  const params = {
    format,
    granularity: { per: 'channel', axis: 0 } as const,
    scale: Float32Array.from(each(own.scale)),
    zeroPoint: Int32Array.from(each(own.zeroPoint)),
  };
  const codes = { codes: quantize(data, [rows, columns], params), params };
  const runs = storeWeight(
    draft,
    layer,
    codes,
    { storage: 'standard', bits: format.bits, block: null, accuracy: 0, relu },
    stored,
  );
  return { layer: layer.name, text: `weights ${describeParams(params)}, activations float; ${runs}` };
}
