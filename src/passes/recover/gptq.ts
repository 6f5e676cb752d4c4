import * as z from 'zod';
import { leftAlone, type Pass } from '../pass.ts';
import { afterQuantizer } from './after_quantizer.ts';
import { gptqCodes } from './gptq_codes.ts';
import { meanError, roundingProblem, toCodes } from './rounding_problem.ts';
import { raised } from './rounding_search.ts';
import type { QuantizedLayer } from './sites.ts';

const options = z.strictObject({
  samples: z.number().int().positive().default(512).meta({ description: 'calibration samples' }),
  damping: z
    .number()
    .positive()
    .default(0.01)
    .meta({ description: 'pull towards the float weights, as a share of the mean input power' }),
  order: z
    .enum(['natural', 'activation'])
    .default('activation')
    .meta({ description: 'which weights are rounded first' }),
  bias: z.boolean().default(true).meta({ description: 'put the mean error that is left into the bias' }),
});

/**
 * GPTQ on layers that a quantizer has rounded to nearest, Conv as well as Gemm and MatMul, at the scales they have: each weight's
 * rounding error is made up for by the weights not yet rounded. Front to back, each layer against the float layer's output, given
 * the input that it really has.
 */
export const gptqRounding: Pass<z.infer<typeof options>> = {
  name: 'recover/gptq',
  section: 'extensions',
  follows: 'quantizers',
  classes: ['GptqRounding'],
  summary: 'rounds quantized weights again by GPTQ, against the float layer outputs; after a quantizer',
  source: 'Frantar et al. 2022, GPTQ (arXiv 2210.17323)',
  options,
  inBodies: { unseen: leftAlone },
  apply: (model, o, ctx) =>
    afterQuantizer(model, ctx, { samples: o.samples, doing: 'rounding', unfit }, async (layer, moments, breathe) => {
      const centred = o.bias && layer.bias !== undefined;
      const problem = await breathe(roundingProblem(layer, moments, centred, o.damping), 0, 0.1);
      const { codes, damping } = await breathe(gptqCodes(problem, o.order, layer.name), 0.1);
      const moved = codes.reduce((n, code, k) => n + (code === problem.nearest[k] ? 0 : 1), 0);
      return {
        text: `${moved} of ${codes.length} weights rounded otherwise than to nearest${raised(damping)}`,
        codes: toCodes(layer, codes),
        ...(o.bias && { correction: meanError(layer, moments, codes) }),
      };
    }),
};

const unfit = ({ zeroPoint }: QuantizedLayer): string | undefined =>
  Array.from(zeroPoint).every((zero) => zero === 0) ? undefined : 'its weights have zero points';
