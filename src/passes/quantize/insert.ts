import { makeNode } from '../../graph/build.ts';
import { edit, type Draft } from '../../graph/edit.ts';
import type { Layer } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { initializers } from '../../graph/query.ts';
import { floatData, makeTensor } from '../../graph/tensor.ts';
import { affineFormat } from '../../numerics/affine.ts';
import type { QuantParams } from '../../numerics/format.ts';
import { quantize } from '../../numerics/quantize.ts';
import { given, must } from '../../util/must.ts';
import type { Note } from '../pass.ts';
import { quantizeEmbeddings, type Embedding } from './embedding.ts';
import type { LayerFormats } from './formats.ts';
import { affineParams, describeParams, inputParams, wholeCodes, type WeightScales } from './params.ts';
import { addBias, addDequantized, addParams, quantizeValue, replaceInput, type ParamNames } from './qdq.ts';
import { storeRecurrent, type RecurrentForm } from './recurrent.ts';
import type { Region } from './region.ts';
import { storeWeight } from './store_weight.ts';
import { restorer, type MatrixCodes } from './tied.ts';

/** A weight as it will be stored: for all layers that see the same matrix in it and hold it alike. */
export interface StoredWeight {
  readonly layers: readonly Layer[];
  readonly params: QuantParams;
}

/** Codes of an activation that has fewer than its bytes hold. */
export interface HeldCodes {
  readonly low?: number;
  readonly high: number;
  /** The scale of QuantizeLinear, where it is not that of DequantizeLinear. */
  readonly step?: number | undefined;
}

/** What static quantization has decided for a model. */
export interface StaticPlan {
  readonly region: Region;
  readonly tables: readonly Embedding[];
  readonly stored: readonly StoredWeight[];
  /** By root value. */
  readonly params: ReadonlyMap<string, QuantParams>;
  /** Layers of which the weights alone are to be held in fewer bits. */
  readonly alone: readonly Layer[];
  /** Layers of LSTM, GRU and RNN, and what becomes of them. */
  readonly recurrent?: { readonly layers: readonly Layer[]; readonly form: RecurrentForm };
  /** Those that onnxruntime would dequantize at every run. */
  readonly relus: ReadonlySet<NodeProto>;
  readonly formatOf: (node: NodeProto) => LayerFormats;
  readonly scales: WeightScales;
  /** The codes that there are of an activation, where not all that its bytes hold; by root value. */
  readonly codes?: ReadonlyMap<string, HeldCodes>;
}

/** The model with codes in the place of weights, biases and tables, and QuantizeLinear and DequantizeLinear around the values of the region. */
export function insertQdq(
  twin: Model,
  { region, tables, stored, params, alone, recurrent, relus, formatOf, scales, codes: heldCodes }: StaticPlan,
): { readonly model: Model; readonly changed: readonly Note[] } {
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
      const own = heldCodes?.get(plan.root);
      // What was made of the root holds its numbers already.
      const step = own?.step !== undefined && plan.root === value ? draft.add(`${value}_step`, makeTensor('step', 'float32', [], Float32Array.of(own.step))) : undefined; // prettier-ignore
      const { source } = quantizeValue(draft, {
        value,
        params: names,
        codes: own,
        step,
        reads: (node) => plan.integer || region.nodes.has(draft.origin(node)),
        isOutput: plan.integer && outputs.has(value),
      });
      if (plan.guarded) guard(draft, value, source);
    }
    const codesOf = (layer: Layer): MatrixCodes => {
      const { weight } = must(weightOf, layer.node, 'the weight of');
      const [stored = '', scale = ''] = restorer(draft, must(codes, weight, 'the codes of')).input;
      const perChannel = weight.params.granularity.per === 'channel';
      return { codes: stored, scale, perChannel, turned: layer.weight.axes?.out[0] === 1 };
    };
    changed.push(...quantizeEmbeddings(draft, tables, codesOf));
    if (recurrent) changed.push(...storeRecurrent(draft, recurrent.layers, recurrent.form, formatOf));
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
  draft.rewire(source, passed, (node) => node.op_type === 'QuantizeLinear');
  draft.addNode(makeNode('Max', [source], [passed]));
}

function addConstant(draft: Draft, tensor: TensorProto): string {
  const { dims, codes, params } = wholeCodes(tensor);
  return addDequantized(draft, tensor.name, dims, codes, params);
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
  const store = { storage: 'standard', bits: format.bits, block: null, accuracy: 0, relu } as const;
  const runs = storeWeight(draft, layer, codes, store, stored);
  return { layer: layer.name, text: `weights ${describeParams(params)}, activations float; ${runs}` };
}
