import * as z from 'zod';
import { leftAlone, type Pass } from '../pass.ts';
import { afterQuantizer } from './after_quantizer.ts';
import { meanError, storedCodes } from './rounding_problem.ts';

const options = z.strictObject({
  method: z.enum(['empirical', 'analytic']).default('empirical').meta({
    description:
      'empirical: the mean error that each layer has in the quantized model, layer by layer; analytic: (W − W̃)·E[x] with the float means of the inputs, in one pass',
  }),
  samples: z.number().int().positive().default(512).meta({ description: 'calibration samples' }),
});

/**
 * Bias correction: quantized weights and inputs shift the mean of a layer's outputs; the bias takes the shift back. `empirical`
 * goes front to back, so that each layer is corrected for the inputs that the corrected layers before it give.
 */
export const biasCorrection: Pass<z.infer<typeof options>> = {
  name: 'recover/bias_correction',
  section: 'extensions',
  follows: 'quantizers',
  classes: ['BiasCorrection'],
  summary: "puts the mean error of each quantized layer's outputs into its bias; after a quantizer",
  source:
    'Nagel et al. 2019, Data-Free Quantization (arXiv 1906.04721), section 4.2; Finkelstein et al. 2019 (arXiv 1906.03193)',
  options,
  inBodies: { unseen: leftAlone },
  apply: (model, o, ctx) =>
    afterQuantizer(
      model,
      ctx,
      {
        samples: o.samples,
        doing: 'correcting',
        products: false,
        unfit: ({ bias }) => (bias ? undefined : 'has no bias of its own to correct'),
        inFloat: o.method === 'analytic',
      },
      (layer, moments) => {
        const correction = meanError(layer, moments, storedCodes(layer));
        const largest = correction.reduce((m, e) => Math.max(m, Math.abs(e)), 0);
        return { correction, text: `bias moved by up to ${Number(largest.toPrecision(3))}` };
      },
    ),
};
