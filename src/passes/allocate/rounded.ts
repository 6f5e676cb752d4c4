import { edit } from '../../graph/edit.ts';
import type { Layer } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import { floatData, makeTensor } from '../../graph/tensor.ts';
import { errorSums } from '../../numerics/error.ts';
import type { NumberFormat, QuantParams } from '../../numerics/format.ts';
import { formatCodes } from '../../numerics/formats/apply.ts';
import { dequantize, quantize } from '../../numerics/quantize.ts';
import { weightRows } from '../quantize/format_weights.ts';
import { formatParams, scaleAxis, type WeightScales } from '../quantize/params.ts';
import { plannedFormat, type PlannedLayer } from './layers.ts';

/** How weight scales are chosen: by the quantizer that will read the plan, or with the width (`coded`: one step a layer). */
export type Scales = WeightScales | 'coded';

/** What the quantizer's own choice is: a coded format brings its step, whatever stands here. */
export const weightScales = (scales: Scales): WeightScales => (scales === 'coded' ? 'mse' : scales);

/** A layer's weights as they come back from a width: one array a tensor, in the layer's order. */
export interface RoundedLayer {
  readonly data: readonly Float32Array[];
  /** Noise-to-signal ratio Σ(w − ŵ)² / Σw² over all its tensors; 0 where there is no weight but zero. */
  readonly noise: number;
  /** Biases that make up for the mean error, by name. */
  readonly biases?: ReadonlyMap<string, Float32Array>;
  /** Why it was rounded otherwise than was asked for. */
  readonly remark?: string;
}

/** Rounds a layer's weights to a width, a scale an output channel, as the static quantizer does. */
export function roundLayer(layer: PlannedLayer, bits: number, scales: Scales): RoundedLayer {
  let [signal, noise] = [0, 0];
  const format = plannedFormat(layer, bits);
  const summed = (own: Float32Array, back: Float32Array): Float32Array => {
    const sums = errorSums(own, back);
    signal += sums.signal;
    noise += sums.noise;
    return back;
  };
  const data = layer.weights.map((one) => {
    const { weight } = one;
    const [own, { dims }] = [floatData(weight.tensor), weight];
    if (format.kind === 'format') {
      const values = weight.fromRows(formatCodes(format.format, weightRows(one), { at: weight.tensor.name }).values);
      return summed(own, values);
    }
    const params = roundingParams(weight, format, scales);
    const back = dequantize(quantize(own, dims, params), dims, params);
    return summed(own, back);
  });
  return { data, noise: signal === 0 ? 0 : noise / signal };
}

/** Scales of a weight in a planned format. */
export function roundingParams(weight: Layer['weight'], format: NumberFormat, scales: Scales): QuantParams {
  return formatParams(weight.tensor, format, scaleAxis(weight), weightScales(scales));
}

/** The float model with rounded weights in some layers: what weight quantization alone does, at float speed. */
export function withRounded(model: Model, rounded: ReadonlyMap<PlannedLayer, RoundedLayer>): Model {
  return edit(model, (draft) => {
    for (const [layer, { data, biases }] of rounded) {
      layer.weights.forEach(({ weight: { tensor, dims } }, i) =>
        draft.replace(tensor.name, makeTensor(tensor.name, 'float32', dims, data[i] as Float32Array)),
      );
      for (const [name, bias] of biases ?? []) draft.replace(name, makeTensor(name, 'float32', [bias.length], bias));
    }
  });
}
