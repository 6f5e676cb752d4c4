import type { Draft } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { channelAxis } from '../../graph/ops.ts';
import { initializers, isOp, layerName, producers } from '../../graph/query.ts';
import { dimsOf, floatData, makeTensor, tensorData, typeOf } from '../../graph/tensor.ts';
import { hasGram, type GramRequest } from '../gram.ts';
import type { Note } from '../pass.ts';

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
  readonly scale: Float32Array;
  readonly zeroPoint: ArrayLike<number>;
  /** Axis of the scales; undefined = one for all. */
  readonly scaleAxis: number | undefined;
  readonly bias: { readonly codes: TensorProto; readonly scale: Float32Array; readonly scaleName: string } | undefined;
  /** The initializer that holds `scale`. */
  readonly scaleName: string;
}

/** The layers that a static quantizer made and that second moments are known for; the others with a sentence. */
export function quantizedLayers(
  model: Model,
  twin: Model,
): { readonly layers: readonly QuantizedLayer[]; readonly skipped: readonly Note[] } {
  const tensors = initializers(model.graph);
  const floats = initializers(twin.graph);
  const made = producers(model.graph);
  const twins = new Map(twin.graph.node.map((node) => [layerName(node), node]));
  const layers: QuantizedLayer[] = [];
  const skipped: Note[] = [];
  for (const node of model.graph.node) {
    if (!isOp(node, 'Conv', 'Gemm', 'MatMul')) continue;
    const name = layerName(node);
    const decode = made.get(node.input[1] ?? '');
    const codes = decode && isOp(decode, 'DequantizeLinear') ? tensors.get(decode.input[0] ?? '') : undefined;
    const other = twins.get(name);
    const weight = other && floats.get(other.input[1] ?? '');
    if (!decode || !codes || !other || !weight) skipped.push({ layer: name, text: 'its weights are not quantized' });
    else if (!hasGram(node))
      skipped.push({ layer: name, text: `second moments are not known for this ${node.op_type}` });
    else if (dimsOf(weight).join() !== dimsOf(codes).join())
      skipped.push({ layer: name, text: 'its codes are stored in another shape' });
    else {
      const scale = floatData(tensors.get(decode.input[1] ?? '') as TensorProto);
      layers.push({
        name,
        node,
        twin: other,
        dims: dimsOf(weight),
        weights: floatData(weight),
        codes,
        scale,
        scaleName: decode.input[1] ?? '',
        zeroPoint: tensorData(tensors.get(decode.input[2] ?? '') as TensorProto) as ArrayLike<number>,
        scaleAxis: scale.length > 1 ? channelAxis(node, 1, weight.dims.length) : undefined,
        bias: biasOf(node, made, tensors),
      });
    }
  }
  return { layers, skipped };
}

function biasOf(
  node: NodeProto,
  made: ReadonlyMap<string, NodeProto>,
  tensors: ReadonlyMap<string, TensorProto>,
): QuantizedLayer['bias'] {
  const decode = made.get(node.input[2] ?? '');
  const codes = decode && isOp(decode, 'DequantizeLinear') ? tensors.get(decode.input[0] ?? '') : undefined;
  if (!decode || !codes) return undefined;
  const scaleName = decode.input[1] ?? '';
  return { codes, scale: floatData(tensors.get(scaleName) as TensorProto), scaleName };
}

/**
 * Weights seen as [outputs, K], K being the weights of one output in the order of their second moments. `place(o, k)` is
 * the element's place in the tensor.
 */
export function asRows({ node, dims }: Pick<QuantizedLayer, 'node' | 'dims'>): {
  readonly rows: number;
  readonly size: number;
  readonly place: (o: number, k: number) => number;
} {
  const axis = channelAxis(node, 1, dims.length) ?? 0;
  const rows = dims[axis] as number;
  const size = dims.reduce((a, b) => a * b, 1) / rows;
  return axis === 0 ? { rows, size, place: (o, k) => o * size + k } : { rows, size, place: (o, k) => k * rows + o };
}

/** What to look at for a layer's moments: its input here and in the float twin. */
export function gramRequest({ node, twin, dims }: QuantizedLayer): Required<GramRequest> {
  return { node, dims, input: node.input[0] as string, reference: twin.input[0] as string };
}

/** Writes new codes of a layer, same type and dims. */
export function storeCodes(draft: Draft, layer: QuantizedLayer, codes: ArrayLike<number>): void {
  const type = typeOf(layer.codes);
  const array = tensorData(layer.codes).slice() as Int8Array;
  for (let i = 0; i < array.length; i++) array[i] = codes[i] as number;
  draft.setInitializer(makeTensor(layer.codes.name, type, layer.dims, array));
}

/**
 * Writes new scales of a layer's weights, one for each that it has, and the bias at input scale · weight scale. Returns the layer
 * with them.
 */
export function storeScales(draft: Draft, layer: QuantizedLayer, scale: Float32Array): QuantizedLayer {
  draft.setInitializer(
    makeTensor(layer.scaleName, 'float32', layer.scaleAxis === undefined ? [] : [scale.length], scale),
  );
  const { bias } = layer;
  if (!bias) return { ...layer, scale };
  const ratio = (c: number): number => {
    const p = scale.length === 1 ? 0 : c;
    return (scale[p] as number) / (layer.scale[p] as number);
  };
  const steps = bias.scale.map((step, c) => step * ratio(c));
  const moved = Int32Array.from(tensorData(bias.codes) as Int32Array, (code, c) => Math.round(code / ratio(c)));
  const codes = makeTensor(bias.codes.name, 'int32', dimsOf(bias.codes), moved);
  draft.setInitializer(makeTensor(bias.scaleName, 'float32', bias.scale.length === 1 ? [] : [steps.length], steps));
  draft.setInitializer(codes);
  return { ...layer, scale, bias: { ...bias, codes, scale: steps } };
}

/** Adds a correction, in real units a channel, to a layer's int32 bias. */
export function addToBias(draft: Draft, layer: QuantizedLayer, correction: ArrayLike<number>): void {
  const { bias } = layer;
  if (!bias) return;
  const codes = Int32Array.from(tensorData(bias.codes) as Int32Array, (code, c) => {
    const step = bias.scale[bias.scale.length === 1 ? 0 : c] as number;
    return Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, code + Math.round((correction[c] as number) / step)));
  });
  draft.setInitializer(makeTensor(bias.codes.name, 'int32', dimsOf(bias.codes), codes));
}
