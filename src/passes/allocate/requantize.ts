import type { DType, TypedArray } from '../../graph/dtype.ts';
import { edit } from '../../graph/edit.ts';
import type { Layer } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import type { TensorProto } from '../../graph/proto.ts';
import { initializers, layerName, producers } from '../../graph/query.ts';
import { dimsOf, floatData, makeTensor, tensorData, typeOf } from '../../graph/tensor.ts';
import { quantize, quantizeBias } from '../../numerics/quantize.ts';
import { given } from '../../util/must.ts';
import { weightParams } from '../quantize/params.ts';
import { plannedFormat, type PlannedLayer } from './layers.ts';
import { weightScales, type Scales } from './rounded.ts';

/** Codes and scale that the weight or the bias of a layer is decoded from. */
type Decoded = (layer: Layer, input: number) => { codes: TensorProto; scale: TensorProto } | undefined;

function decodedInputs({ graph }: Model): Decoded {
  const tensors = initializers(graph);
  const made = producers(graph);
  const nodes = new Map(graph.node.map((node) => [layerName(node), node]));
  return ({ name }, input) => {
    const decode = made.get(nodes.get(name)?.input[input] ?? '');
    const [codes, scale] = (decode?.input ?? []).map((value) => tensors.get(value));
    return codes && scale && { codes, scale };
  };
}

/** Whether the static quantizer holds a layer for one integer kernel: codes of 8 bits in the tensor's own order, that no other reads. */
export function heldForKernel(model: Model): (layer: PlannedLayer) => boolean {
  const decoded = decodedInputs(model);
  return ({ weights }) =>
    weights.every((layer) => {
      const codes = decoded(layer, layer.input)?.codes;
      if (!codes || layer.readers.length > 1) return false;
      return typeOf(codes) === 'int8' && dimsOf(codes).join() === layer.weight.dims.join();
    });
}

/**
 * A model that the static quantizer made, with the weights of some layers (`heldForKernel`, as they stand in its float twin) stored in
 * other widths: codes, scales and biases at the new scale, under the names they have. What bias correction has added to a bias stays in it.
 */
export function requantized(model: Model, widths: ReadonlyMap<PlannedLayer, number>, scales: Scales): Model {
  const decoded = decodedInputs(model);
  return edit(model, (draft) => {
    const write = (old: TensorProto, type: DType, data: TypedArray): void =>
      draft.replace(old.name, makeTensor(old.name, type, dimsOf(old), data));
    for (const [planned, bits] of widths)
      for (const layer of planned.weights) {
        const { bias, input, product, weight } = layer;
        const stored = given(decoded(layer, input), `the codes of "${layer.name}"`);
        const old = floatData(stored.scale);
        const at = bias && decoded(layer, product.bias ?? -1);
        const inputScale = at ? (floatData(at.scale)[0] as number) / old[0]! : 1;
        const biases = bias ? [{ bias, inputScale }] : [];
        const params = weightParams(weight, plannedFormat(planned, bits), old.length > 1, biases, weightScales(scales));
        write(stored.codes, 'int8', quantize(floatData(weight.tensor), weight.dims, params));
        write(stored.scale, 'float32', params.scale);
        if (!bias || !at) continue;
        const step = floatData(at.scale);
        const rounded = quantizeBias(floatData(bias), inputScale, old).codes;
        const values = floatData(bias).map((value, c) => {
          const correction = (tensorData(at.codes)[c] as number) - rounded[c]!;
          return value + correction * step[step.length === 1 ? 0 : c]!;
        });
        const now = quantizeBias(values, inputScale, params.scale);
        write(at.codes, 'int32', now.codes);
        write(at.scale, 'float32', now.scale);
      }
  });
}
