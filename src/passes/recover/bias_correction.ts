import * as z from 'zod';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { tensorData } from '../../graph/tensor.ts';
import { layerGrams, type LayerGram } from '../gram.ts';
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';
import { withMeans } from './sequence.ts';
import { meanError } from './rounding_problem.ts';
import { addToBias, asRows, gramRequest, quantizedLayers, type QuantizedLayer } from './sites.ts';

const options = z.strictObject({
  method: z.enum(['empirical', 'analytic']).default('empirical').meta({
    description:
      'empirical: the mean error that each layer has in the quantized model, layer by layer; analytic: (W − W̃)·E[x] with the float means of the inputs, in one pass',
  }),
  samples: z.number().int().positive().default(512).meta({ description: 'calibration samples' }),
});

type BiasOptions = z.infer<typeof options>;

/**
 * Bias correction: quantized weights and inputs shift the mean of a layer's outputs; the bias takes the shift back. `empirical`
 * goes front to back, so that each layer is corrected for the inputs that the corrected layers before it give.
 */
export const biasCorrection: Pass<BiasOptions> = {
  name: 'recover/bias_correction',
  section: 'extensions',
  classes: ['BiasCorrection'],
  summary: "puts the mean error of each quantized layer's outputs into its bias; after a quantizer",
  source:
    'Nagel et al. 2019, Data-Free Quantization (arXiv 1906.04721), section 4.2; Finkelstein et al. 2019 (arXiv 1906.03193)',
  options,
  apply,
};

async function apply(model: Model, o: BiasOptions, ctx: PassContext): Promise<PassResult> {
  const { twin } = ctx;
  if (!twin)
    return { model, changed: [], skipped: [], notes: ['nothing is quantized yet: put this after a quantizer'] };
  const found = quantizedLayers(model, twin);
  const layers = found.layers.filter((layer) => layer.bias);
  const skipped: Note[] = [
    ...found.skipped,
    ...found.layers.filter((layer) => !layer.bias).map(({ name }) => ({ layer: name, text: 'has no bias to correct' })),
  ];
  const changed: Note[] = [];
  const correct = (current: Model, layer: QuantizedLayer, sums: LayerGram): Model => {
    const error = meanError(layer, sums, storedCodes(layer));
    const largest = error.reduce((m, e) => Math.max(m, Math.abs(e)), 0);
    changed.push({ layer: layer.name, text: `bias moved by up to ${Number(largest.toPrecision(3))}` });
    return edit(current, (draft) => addToBias(draft, layer, error));
  };
  let now = model;
  if (o.method === 'analytic') {
    const requests = layers.map((layer) => ({ ...gramRequest(layer), input: layer.twin.input[0] as string }));
    const sums = await layerGrams(ctx, twin, requests, { samples: o.samples, products: false });
    for (const [i, layer] of layers.entries()) now = correct(now, layer, sums[i] as LayerGram);
  } else {
    const settings = { samples: o.samples, doing: 'correcting' };
    now = await withMeans(ctx, { model, twin, layers }, settings, correct);
  }
  return { model: now, changed, skipped };
}

/** The stored codes less their zero points, as rows. */
function storedCodes(layer: QuantizedLayer): Float64Array {
  const { rows, size, place } = asRows(layer);
  const codes = tensorData(layer.codes) as Int8Array;
  return Float64Array.from({ length: rows * size }, (_, at) => {
    const r = Math.floor(at / size);
    return (codes[place(r, at % size)] as number) - (layer.zeroPoint[layer.scaleAxis === undefined ? 0 : r] as number);
  });
}
