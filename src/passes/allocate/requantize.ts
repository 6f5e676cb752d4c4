import type { DType, TypedArray } from '../../graph/dtype.ts';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { TensorProto } from '../../graph/proto.ts';
import { initializers, isOp, layerName, producers } from '../../graph/query.ts';
import { dimsOf, floatData, makeTensor, tensorData, typeOf } from '../../graph/tensor.ts';
import { quantize, quantizeBias } from '../../numerics/quantize.ts';
import { weightParams } from '../quantize/params.ts';
import { plannedFormat, type PlannedLayer } from './layers.ts';
import { weightScales, type Scales } from './rounded.ts';

/**
 * A model that the static quantizer made of `float`, with the weights of some layers stored in other widths: codes, scales and
 * biases at the new scale, under the names they have. What bias correction has added to a bias stays in it.
 */
export function requantized(
  model: Model,
  float: Model,
  widths: ReadonlyMap<PlannedLayer, number>,
  scales: Scales,
): Model {
  const tensors = initializers(model.graph);
  const floats = initializers(float.graph);
  const made = producers(model.graph);
  const nodes = new Map(model.graph.node.map((node) => [layerName(node), node]));
  /** Codes and scale that an input of a layer is decoded from. */
  const decoded = (name: string, input: number): { codes: TensorProto; scale: TensorProto } | undefined => {
    const decode = made.get(nodes.get(name)?.input[input] ?? '');
    if (!decode || !isOp(decode, 'DequantizeLinear')) return undefined;
    const [codes, scale] = decode.input.map((value) => tensors.get(value));
    return codes && scale && { codes, scale };
  };
  return edit(model, (draft) => {
    for (const [layer, bits] of widths)
      for (const { node, weight } of layer.weights) {
        const { tensor, dims } = weight;
        const stored = decoded(layerName(node), 1);
        if (!stored) continue;
        const old = floatData(stored.scale);
        const bias = floats.get(node.input[2] ?? '');
        const at = bias && decoded(layerName(node), 2);
        const inputScale = at ? (floatData(at.scale)[0] as number) / (old[0] as number) : 1;
        const biases = bias ? [{ bias, inputScale }] : [];
        const format = plannedFormat(layer, bits);
        const params = weightParams(weight, format, old.length > 1, biases, weightScales(scales));
        const codes = quantize(floatData(tensor), dims, params);
        const write = (old: TensorProto, type: DType, data: TypedArray): void =>
          draft.replace(old.name, makeTensor(old.name, type, dimsOf(old), data));
        write(stored.codes, typeOf(stored.codes), codes);
        write(stored.scale, 'float32', params.scale);
        if (!bias || !at) continue;
        const step = floatData(at.scale);
        const rounded = quantizeBias(floatData(bias), inputScale, old).codes;
        const values = floatData(bias).map((value, c) => {
          const correction = (tensorData(at.codes)[c] as number) - (rounded[c] as number);
          return value + correction * (step[step.length === 1 ? 0 : c] as number);
        });
        const now = quantizeBias(values, inputScale, params.scale);
        write(at.codes, 'int32', now.codes);
        write(at.scale, 'float32', now.scale);
      }
  });
}
