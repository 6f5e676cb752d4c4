import * as z from 'zod';
import { edit } from '../../graph/edit.ts';
import type { Tensor } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';
import { adaroundStep, stretch } from './adaround_graph.ts';
import { gptqCodes } from './gptq_codes.ts';
import { layerByLayer } from './sequence.ts';
import { better, meanError, polish, roundingProblem, toCodes, type RoundingProblem } from './rounding_problem.ts';
import { addToBias, quantizedLayers, storeCodes } from './sites.ts';

const options = z.strictObject({
  samples: z.number().int().positive().default(1024).meta({ description: 'calibration samples' }),
  iterations: z.number().int().min(0).default(2000).meta({ description: 'Adam steps a layer' }),
  rate: z.number().positive().default(0.01).meta({ description: 'learning rate' }),
  regularization: z
    .number()
    .positive()
    .default(0.01)
    .meta({ description: 'weight λ of the term that drives roundings to 0 or 1' }),
  beta_start: z.number().positive().default(20),
  beta_end: z.number().positive().default(2),
  warmup: z.number().min(0).max(1).default(0.2).meta({ description: 'share of the steps without that term' }),
  damping: z
    .number()
    .min(0)
    .default(0.01)
    .meta({ description: 'pull towards the float weights, as a share of the mean input power' }),
  descent: z
    .boolean()
    .default(true)
    .meta({ description: 'coordinate descent on the same error, after rounding and from the rounding of GPTQ' }),
  bias: z.boolean().default(true).meta({ description: 'put the mean error that is left into the bias' }),
});

export type AdaroundOptions = z.infer<typeof options>;

/**
 * AdaRound: learns for each quantized weight whether to round up or down, so that the layer's output on calibration data is
 * as in the float model, given the input it really gets in the quantized one. Layer by layer, front to back. The error is a
 * quadratic form of the weights, so its second moments replace the data and each step sees all samples.
 */
export const adaround: Pass<AdaroundOptions> = {
  name: 'recover/adaround',
  section: 'extensions',
  classes: ['AdaRound'],
  summary: 'learned rounding of quantized weights against the float layer outputs',
  source: 'Nagel et al. 2020, Up or Down? Adaptive Rounding for Post-Training Quantization (arXiv 2004.10568)',
  options,
  apply,
};

/** Weights of one output beyond which factoring their moments takes too long. */
const gptqLimit = 2048;

async function apply(model: Model, o: AdaroundOptions, ctx: PassContext): Promise<PassResult> {
  const { twin } = ctx;
  if (!twin)
    return { model, changed: [], skipped: [], notes: ['nothing is quantized yet: put this after a quantizer'] };
  const { layers, skipped } = quantizedLayers(model, twin);
  const changed: Note[] = [];
  const settings = { samples: o.samples, doing: 'rounding' };
  const rounded = await layerByLayer(ctx, { model, twin, layers }, settings, async (current, layer, gram) => {
    const problem = roundingProblem(layer, gram, o.bias && layer.bias !== undefined, o.damping);
    let best = problem.nearest;
    // Descent ends in the valley where it starts, so it starts from several roundings; each row keeps its best.
    const starts = [o.iterations > 0 ? await learn(problem, o, ctx) : best.slice()];
    if (o.descent && problem.size <= gptqLimit) starts.push(gptqCodes(problem, 'activation', layer.name));
    for (const codes of starts) {
      if (o.descent) polish(problem, codes);
      best = better(problem, best, codes);
    }
    const moved = best.reduce((n, code, k) => n + (code === problem.nearest[k] ? 0 : 1), 0);
    changed.push({ layer: layer.name, text: `${moved} of ${best.length} weights rounded the other way` });
    return edit(current, (draft) => {
      storeCodes(draft, layer, toCodes(layer, best));
      if (o.bias) addToBias(draft, layer, meanError(layer, gram, best));
    });
  });
  return { model: rounded, changed, skipped };
}

/** Adam on the relaxed roundings; returns the hard ones. */
async function learn(p: RoundingProblem, o: AdaroundOptions, ctx: PassContext): Promise<Float64Array> {
  const step = adaroundStep(p.qmin, p.qmax);
  const dims = [p.groups, p.rows, p.size];
  const tensor = (data: ArrayLike<number>, shape: readonly number[] = dims): Tensor => ({
    type: 'float32',
    dims: shape,
    data: Float32Array.from(data),
  });
  const scalar = (value: number): Tensor => tensor([value], []);
  const floor = p.exact.map(Math.floor);
  // V starts where h(V) is the fraction that rounding would drop, so that the relaxed weights are the float ones.
  const start = p.exact.map((w, i) => {
    const sigma = (w - (floor[i] as number) - stretch.gamma) / (stretch.zeta - stretch.gamma);
    return Math.log(sigma / (1 - sigma));
  });
  const fixed = {
    floor: tensor(floor),
    scale: tensor(p.scale),
    target: tensor(p.target),
    gram: tensor(p.gram, [p.groups, p.size, p.size]),
  };
  let state = {
    V: tensor(start),
    m: tensor(new Float32Array(start.length)),
    v: tensor(new Float32Array(start.length)),
  };
  for (let t = 1; t <= o.iterations; t++) {
    const done = t / o.iterations;
    const anneal = Math.max(0, (done - o.warmup) / Math.max(1e-9, 1 - o.warmup));
    const scalars = {
      beta: scalar(o.beta_end + (o.beta_start - o.beta_end) * 0.5 * (1 + Math.cos(anneal * Math.PI))),
      lambda: scalar(done < o.warmup ? 0 : o.regularization),
      rate: scalar(o.rate),
      m_fix: scalar(1 / (1 - 0.9 ** t)),
      v_fix: scalar(1 / (1 - 0.999 ** t)),
    };
    const next = await ctx.compute(step, { ...fixed, ...state, ...scalars });
    state = { V: next.V_next as Tensor, m: next.m_next as Tensor, v: next.v_next as Tensor };
  }
  const v = state.V.data as Float32Array;
  return p.nearest.map((code, i) =>
    p.frozen[i] === 1
      ? code
      : Math.min(p.qmax, Math.max(p.qmin, (floor[i] as number) + ((v[i] as number) > 0 ? 1 : 0))),
  );
}
