import * as z from 'zod';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';
import { gptqCodes } from './gptq_codes.ts';
import { meanError, roundingProblem, toCodes } from './rounding_problem.ts';
import { raised } from './rounding_search.ts';
import { layerByLayer } from './sequence.ts';
import { quantizedLayers, storeLayer, type QuantizedLayer } from './sites.ts';

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

type GptqPassOptions = z.infer<typeof options>;

/**
 * GPTQ on layers that a quantizer has rounded to nearest, Conv as well as Gemm and MatMul, at the scales they have: each weight's
 * rounding error is made up for by the weights not yet rounded. Front to back, each layer against the float layer's output, given
 * the input that it really has.
 */
export const gptqRounding: Pass<GptqPassOptions> = {
  name: 'recover/gptq',
  section: 'extensions',
  classes: ['GptqRounding'],
  summary: 'rounds quantized weights again by GPTQ, against the float layer outputs; after a quantizer',
  source: 'Frantar et al. 2022, GPTQ (arXiv 2210.17323)',
  options,
  apply,
};

async function apply(model: Model, o: GptqPassOptions, ctx: PassContext): Promise<PassResult> {
  const { twin } = ctx;
  if (!twin)
    return { model, changed: [], skipped: [], notes: ['nothing is quantized yet: put this after a quantizer'] };
  const found = quantizedLayers(model, twin);
  const symmetric = (layer: QuantizedLayer): boolean => Array.from(layer.zeroPoint).every((zero) => zero === 0);
  const layers = found.layers.filter(symmetric);
  const asymmetric = found.layers.filter((layer) => !symmetric(layer));
  const skipped: Note[] = [
    ...found.skipped,
    ...asymmetric.map(({ name }) => ({ layer: name, text: 'its weights have zero points' })),
  ];
  const changed: Note[] = [];
  const settings = { samples: o.samples, doing: 'rounding' };
  const rounded = await layerByLayer(ctx, { model, twin, layers }, settings, (current, layer, moments) => {
    const problem = roundingProblem(layer, moments, o.bias && layer.bias !== undefined, o.damping);
    const { codes, damping } = gptqCodes(problem, o.order, layer.name);
    const moved = codes.reduce((n, code, k) => n + (code === problem.nearest[k] ? 0 : 1), 0);
    let said = `${moved} of ${codes.length} weights rounded otherwise than to nearest${raised(damping)}`;
    const next = edit(current, (draft) => {
      const correction = o.bias ? { correction: meanError(layer, moments, codes) } : {};
      said += storeLayer(draft, layer, { codes: toCodes(layer, codes), ...correction });
    });
    changed.push({ layer: layer.name, text: said });
    return next;
  });
  return { model: rounded.model, changed, skipped: [...skipped, ...rounded.skipped] };
}
