import type { Draft } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { consumers, initializers, isOp, layerName, producers } from '../../graph/query.ts';
import { dimsOf, floatData, makeTensor, tensorData, typeOf } from '../../graph/tensor.ts';
import { quantizeBias } from '../../numerics/quantize.ts';
import { hasMoments } from '../moments.ts';
import type { Note } from '../pass.ts';
import { linearSizes } from '../rows.ts';

/** A layer of a quantized model whose rounding can still be changed, beside its float twin. */
export interface QuantizedLayer {
  readonly name: string;
  readonly node: NodeProto;
  /** The same node in the float twin. */
  readonly twin: NodeProto;
  readonly dims: readonly number[];
  /** Float weights and stored codes. */
  readonly weights: Float32Array;
  readonly codes: TensorProto;
  /** One a row of the weight, or one for all. */
  readonly scale: Float32Array;
  readonly zeroPoint: ArrayLike<number>;
  readonly bias: QuantizedBias | undefined;
  /** The initializer that holds `scale`. */
  readonly scaleName: string;
  /** Whether the scales may be changed: each belongs to one output of this layer alone, as does the bias that goes with it. */
  readonly rescalable: boolean;
}

/** A bias of the layer's own, stored as int32 at input scale · weight scale. */
export interface QuantizedBias {
  readonly codes: TensorProto;
  readonly scale: Float32Array;
  readonly scaleName: string;
  readonly inputScale: number;
}

/** The layers that a static quantizer made and that moments are known for; the others with a sentence. */
export function quantizedLayers(
  model: Model,
  twin: Model,
): { readonly layers: readonly QuantizedLayer[]; readonly skipped: readonly Note[] } {
  const tensors = initializers(model.graph);
  const floats = initializers(twin.graph);
  const made = producers(model.graph);
  const readers = consumers(model.graph);
  const twins = byName(twin);
  const names = byName(model);
  const layers: QuantizedLayer[] = [];
  const skipped: Note[] = [];
  for (const node of model.graph.node) {
    if (!isOp(node, 'Conv', 'Gemm', 'MatMul')) continue;
    const name = layerName(node);
    const skip = (text: string): void => void skipped.push({ layer: name, text });
    const decode = decoderOf(node.input[1]);
    const other = names.get(name) === node ? twins.get(name) : undefined;
    const weight = other && floats.get(other.input[1] ?? '');
    if (!decode || !weight) skip('its weights are not quantized');
    else {
      const { codes, scale, scaleName, zeroPoint } = decode;
      const dims = dimsOf(weight);
      const shared = [...(readers.get(codes.name) ?? []), ...(readers.get(node.input[1] ?? '') ?? [])]
        .filter((reader) => reader !== node && reader !== decode.node)
        .map(layerName);
      const perRow = scale.length > 1;
      const { groups, rows, turned } = linearSizes({ node, dims });
      if (!hasMoments({ node, dims })) skip(`second moments are not known for this ${node.op_type}`);
      else if (shared.length > 0)
        skip(`its weights are read by "${shared.join('", "')}" too: they stay as the quantizer rounded them`);
      else if (dims.join() !== dimsOf(codes).join() || turned !== linearSizes({ node: other, dims }).turned)
        skip('its codes are stored in another shape');
      else if (perRow && scale.length !== groups * rows) skip('its scales are not one an output');
      else {
        const bias = biasOf(node, groups * rows, scale.length);
        layers.push({
          ...{ name, node, twin: other, dims, weights: floatData(weight), codes, scale, scaleName, zeroPoint },
          bias: bias === 'bound' ? undefined : bias,
          rescalable: perRow && bias !== 'bound' && readers.get(scaleName)?.length === 1,
        });
      }
    }
  }
  return { layers, skipped };

  /** The DequantizeLinear that makes a value from constants. */
  function decoderOf(value: string | undefined) {
    const node = made.get(value ?? '');
    const [codes, scale, zero] = node?.input.map((name) => tensors.get(name)) ?? [];
    if (!node || !isOp(node, 'DequantizeLinear') || !codes || !scale) return undefined;
    const count = floatData(scale).length;
    const zeroPoint = zero ? (tensorData(zero) as ArrayLike<number>) : new Int8Array(count);
    return { node, codes, scale: floatData(scale), scaleName: scale.name, zeroPoint };
  }

  /** `bound`: the bias is stored, but not for this layer alone or not as one number an output. */
  function biasOf(node: NodeProto, outputs: number, scales: number): QuantizedBias | 'bound' | undefined {
    const decode = decoderOf(node.input[2]);
    if (!decode) return undefined;
    const input = made.get(node.input[0] ?? '');
    const inputScale = input && isOp(input, 'DequantizeLinear') ? tensors.get(input.input[1] ?? '') : undefined;
    const alone = [decode.codes.name, decode.scaleName, node.input[2] ?? ''].every((v) => readers.get(v)?.length === 1);
    const { codes, scale, scaleName } = decode;
    const fits = dimsOf(codes).join() === String(outputs) && scale.length === scales && typeOf(codes) === 'int32';
    if (!inputScale || !alone || !fits) return 'bound';
    return { codes, scale, scaleName, inputScale: floatData(inputScale)[0] as number };
  }
}

/** Nodes by name, those left out that share theirs. */
function byName(model: Model): Map<string, NodeProto> {
  const nodes = new Map<string, NodeProto>();
  const twice = new Set<string>();
  for (const node of model.graph.node) {
    const name = layerName(node);
    if (nodes.has(name)) twice.add(name);
    nodes.set(name, node);
  }
  for (const name of twice) nodes.delete(name);
  return nodes;
}

/** The scale of each output: one for all where the weight has only that. */
export const scaleOf = (layer: Pick<QuantizedLayer, 'scale'>, output: number): number =>
  layer.scale[layer.scale.length === 1 ? 0 : output]!;

/** The bias in real units; empty where there is none of the layer's own. */
export function biasValues({ bias }: Pick<QuantizedLayer, 'bias'>): Float64Array {
  if (!bias) return new Float64Array();
  return Float64Array.from(tensorData(bias.codes) as Int32Array, (code, c) => code * scaleOf(bias, c));
}

/** What of a layer is stored anew. */
export interface LayerChange {
  /** In the tensor's own order, with zero points. */
  readonly codes?: ArrayLike<number>;
  /** One for each that the weight has. */
  readonly scale?: Float32Array;
  /** Added to the bias, in real units an output. */
  readonly correction?: ArrayLike<number>;
}

/**
 * Stores it, the bias at input scale · weight scale. @returns what to say of biases that do not fit int32 there, or ''.
 */
export function storeLayer(draft: Draft, layer: QuantizedLayer, { codes, scale, correction }: LayerChange): string {
  if (codes) {
    const array = tensorData(layer.codes).slice() as Int8Array;
    for (let i = 0; i < array.length; i++) array[i] = codes[i]!;
    draft.replace(layer.codes.name, makeTensor(layer.codes.name, typeOf(layer.codes), layer.dims, array));
  }
  const scalars = (name: string, values: Float32Array): void =>
    draft.replace(name, makeTensor(name, 'float32', values.length === 1 ? [] : [values.length], values));
  if (scale) scalars(layer.scaleName, scale);
  const { bias } = layer;
  if (!bias || (!scale && !correction)) return '';
  const values = biasValues(layer).map((b, c) => b + (correction?.[c] ?? 0));
  const stored = quantizeBias(values, bias.inputScale, scale ?? layer.scale);
  draft.replace(bias.codes.name, makeTensor(bias.codes.name, 'int32', dimsOf(bias.codes), stored.codes));
  if (scale) scalars(bias.scaleName, stored.scale);
  return stored.clipped === 0 ? '' : `, ${stored.clipped} biases beyond int32 at their scale, cut to it`;
}
