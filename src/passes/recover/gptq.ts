import * as z from 'zod';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { gptq } from '../../numerics/gptq.ts';
import { solveSpd } from '../../numerics/linalg.ts';
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';
import { meanError, roundingProblem, toCodes, type RoundingProblem } from './rounding_problem.ts';
import { layerByLayer } from './sequence.ts';
import { addToBias, quantizedLayers, storeCodes, type QuantizedLayer } from './sites.ts';

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
  const rounded = await layerByLayer(ctx, { model, twin, layers }, settings, (current, layer, gram) => {
    const problem = roundingProblem(layer, gram, o.bias && layer.bias !== undefined, o.damping);
    const codes = roundedCodes(problem, o, layer.name);
    const moved = codes.reduce((n, code, k) => n + (code === problem.nearest[k] ? 0 : 1), 0);
    changed.push({ layer: layer.name, text: `${moved} of ${codes.length} weights rounded otherwise than to nearest` });
    return edit(current, (draft) => {
      storeCodes(draft, layer, toCodes(layer, codes));
      if (o.bias) addToBias(draft, layer, meanError(layer, gram, codes));
    });
  });
  return { model: rounded, changed, skipped };
}

function roundedCodes(p: RoundingProblem, o: GptqPassOptions, at: string): Float64Array {
  const { rows, size } = p;
  const codes = new Float64Array(p.exact.length);
  const bits = Math.round(Math.log2(p.qmax + 1)) + 1;
  const format = { kind: 'int', bits, signed: true, symmetric: true, narrow: p.qmin === -p.qmax } as const;
  for (let g = 0; g < p.groups; g++) {
    const first = g * rows * size;
    const gram = p.gram.slice(g * size * size, (g + 1) * size * size);
    // An input that is always 0 leaves its weights undetermined.
    for (let i = 0; i < size; i++) if (gram[i * size + i] === 0) gram[i * size + i] = 1;
    const turned = new Float64Array(rows * size);
    for (let r = 0; r < rows; r++)
      for (let k = 0; k < size; k++) turned[k * rows + r] = p.target[first + r * size + k] as number;
    // The weights that do best on the inputs of the quantized model, unrounded: T G⁻¹.
    const solved = solveSpd(gram, size, turned, rows, 1e-9, at);
    const weights = new Float32Array(rows * size);
    const mask = new Uint8Array(rows * size);
    for (let r = 0; r < rows; r++)
      for (let k = 0; k < size; k++) {
        weights[r * size + k] = solved[k * rows + r] as number;
        mask[r * size + k] = p.frozen[first + r * size + k] === 1 ? 0 : 1;
      }
    const result = gptq(weights, [rows, size], gram, {
      format,
      damping: 1e-9,
      order: o.order,
      mask,
      choose: (_, row) => ({ scale: p.scale[first + row * size] as number, zeroPoint: 0 }),
      at,
    });
    codes.set(result.codes, first);
  }
  return codes;
}
