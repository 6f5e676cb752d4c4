import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { dimsOf, floatData, makeTensor } from '../../graph/tensor.ts';
import { affineFormat } from '../../numerics/affine.ts';
import { errorSums } from '../../numerics/error.ts';
import type { Granularity, QuantParams } from '../../numerics/format.ts';
import { dequantize, minMaxParams, quantize } from '../../numerics/quantize.ts';
import { searchParams } from '../../numerics/weight_scale.ts';
import { weightFormat } from '../quantize/formats.ts';
import type { PlannedLayer, PlannedWeight } from './layers.ts';

/** How the quantizer that will read the plan chooses its weight scales. */
export type Scales = 'mse' | 'minmax';

/** A layer's weights as they come back from a width: one array a tensor, in the layer's order. */
export interface RoundedLayer {
  readonly data: readonly Float32Array[];
  /** Noise-to-signal ratio Σ(w − ŵ)² / Σw² over all its tensors; 0 where there is no weight but zero. */
  readonly noise: number;
  /** Biases that make up for the mean error, by name. */
  readonly biases?: ReadonlyMap<string, Float32Array>;
}

/** Rounds a layer's weights to a width, a scale an output channel, as the static quantizer does. */
export function roundLayer(layer: PlannedLayer, bits: number, scales: Scales): RoundedLayer {
  let [signal, noise] = [0, 0];
  const data = layer.weights.map((weight) => {
    const own = floatData(weight.tensor);
    const back = roundWeight(weight, own, bits, scales);
    const sums = errorSums(own, back);
    signal += sums.signal;
    noise += sums.noise;
    return back;
  });
  return { data, noise: signal === 0 ? 0 : noise / signal };
}

function roundWeight(weight: PlannedWeight, data: Float32Array, bits: number, scales: Scales): Float32Array {
  const dims = dimsOf(weight.tensor);
  const params = roundingParams(weight, bits, scales);
  return dequantize(quantize(data, dims, params), dims, params);
}

/** Scales of a weight at a width, one an output channel. */
export function roundingParams({ tensor, axis }: PlannedWeight, bits: number, scales: Scales): QuantParams {
  const [data, dims] = [floatData(tensor), dimsOf(tensor)];
  const format = affineFormat(weightFormat(bits, true) as never);
  const granularity: Granularity = { per: 'channel', axis };
  return scales === 'mse'
    ? searchParams(data, dims, format, granularity, { at: tensor.name })
    : minMaxParams(data, dims, format, granularity, tensor.name);
}

/** The float model with rounded weights in some layers: what weight quantization alone does, at float speed. */
export function withRounded(model: Model, rounded: ReadonlyMap<PlannedLayer, RoundedLayer>): Model {
  return edit(model, (draft) => {
    for (const [layer, { data, biases }] of rounded) {
      layer.weights.forEach(({ tensor }, i) =>
        draft.setInitializer(makeTensor(tensor.name, 'float32', dimsOf(tensor), data[i] as Float32Array)),
      );
      for (const [name, bias] of biases ?? []) draft.setInitializer(makeTensor(name, 'float32', [bias.length], bias));
    }
  });
}
