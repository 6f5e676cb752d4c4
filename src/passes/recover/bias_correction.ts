import * as z from 'zod';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { given } from '../../util/must.ts';
import { layerMoments, type Moments } from '../moments.ts';
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';
import { meanError, storedCodes } from './rounding_problem.ts';
import { layerByLayer } from './sequence.ts';
import { quantizedLayers, storeLayer, type QuantizedLayer } from './sites.ts';

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
    ...found.layers
      .filter((layer) => !layer.bias)
      .map(({ name }) => ({ layer: name, text: 'has no bias of its own to correct' })),
  ];
  const changed: Note[] = [];
  const correct = (current: Model, layer: QuantizedLayer, sums: Moments): Model => {
    const error = meanError(layer, sums, storedCodes(layer));
    const largest = error.reduce((m, e) => Math.max(m, Math.abs(e)), 0);
    let said = `bias moved by up to ${Number(largest.toPrecision(3))}`;
    const next = edit(current, (draft) => void (said += storeLayer(draft, layer, { correction: error })));
    changed.push({ layer: layer.name, text: said });
    return next;
  };
  if (o.method === 'analytic') {
    const requests = layers.map(({ twin: node, dims, weights }) => ({
      node,
      dims,
      weights,
      input: node.input[0] ?? '',
    }));
    const sums = await layerMoments(ctx, twin, requests, { samples: o.samples, products: false });
    const corrected = layers.reduce((now, layer, i) => correct(now, layer, given(sums[i], layer.name)), model);
    return { model: corrected, changed, skipped };
  }
  const settings = { samples: o.samples, doing: 'correcting', products: false };
  const corrected = await layerByLayer(ctx, { model, twin, layers }, settings, correct);
  return { model: corrected.model, changed, skipped: [...skipped, ...corrected.skipped] };
}
