import * as z from 'zod';
import type { Steps } from '../../util/steps.ts';
import { leftAlone, type Pass, type PassContext } from '../pass.ts';
import { learnRounding } from '../relaxed_rounding.ts';
import { afterQuantizer } from './after_quantizer.ts';
import { raised, searchRounding, type Rounded } from './rounding_search.ts';
import {
  atScales,
  better,
  meanError,
  polish,
  roundingProblem,
  toCodes,
  type RoundingProblem,
} from './rounding_problem.ts';
import type { QuantizedLayer } from './sites.ts';

const options = z.strictObject({
  samples: z.number().int().positive().default(512).meta({ description: 'calibration samples' }),
  iterations: z.number().int().min(0).default(0).meta({ description: 'Adam steps a layer' }),
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
  scales: z
    .number()
    .int()
    .min(0)
    .default(10)
    .meta({ description: 'weight scales tried for each output; 0 keeps those that the quantizer chose' }),
  paths: z.number().int().min(1).default(4).meta({ description: 'beginnings of a rounding kept at once; 1 is GPTQ' }),
  residual: z
    .boolean()
    .default(true)
    .meta({ description: "make up for what a residual's other branch lacks where a layer's output is added to it" }),
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
  follows: 'quantizers',
  classes: ['AdaRound'],
  summary: 'learned rounding of quantized weights against the float layer outputs',
  source: 'Nagel et al. 2020, Up or Down? Adaptive Rounding for Post-Training Quantization (arXiv 2004.10568)',
  options,
  inBodies: { unseen: leftAlone },
  apply(model, o, ctx) {
    const settings = { samples: o.samples, residual: o.residual, doing: 'rounding' };
    return afterQuantizer(model, ctx, settings, async (layer, moments, breathe) => {
      const centred = o.bias && layer.bias !== undefined;
      const problem = await breathe(roundingProblem(layer, moments, centred, o.damping), 0, 0.1);
      const found = await breathe(search(problem, layer, layer.rescalable ? o.scales : 0, o.paths), 0.1, 0.8);
      const rescaled = layer.rescalable ? { ...layer, scale: Float32Array.from(found.scale) } : layer;
      const problemThere = atScales(problem, rescaled);
      let codes = found.codes;
      if (o.iterations > 0) {
        const learned = await learn(problemThere, o, ctx);
        await breathe(polish(problemThere, learned), 0.8, 0.9);
        codes = await breathe(better(problemThere, codes, learned), 0.9);
      }
      const nearest = problemThere.exact.map((w) => Math.min(problem.qmax, Math.max(problem.qmin, Math.round(w))));
      const moved = codes.reduce((n, code, k) => n + (code === nearest[k] ? 0 : 1), 0);
      return {
        text: describe(moved, codes.length, layer, rescaled, found.damping),
        codes: toCodes(layer, codes),
        ...(layer.rescalable && { scale: rescaled.scale }),
        ...(o.bias && { correction: meanError(rescaled, moments, codes) }),
      };
    });
  },
};

/** Weights of one output beyond which factoring their moments takes too long. */
const sizeLimit = 2048;

function* search(problem: RoundingProblem, layer: QuantizedLayer, scales: number, paths: number): Steps<Rounded> {
  if (problem.size <= sizeLimit) return yield* searchRounding(problem, { paths, scales }, layer.name);
  const codes = problem.nearest.slice();
  yield* polish(problem, codes);
  const scale = Float64Array.from(
    { length: problem.groups * problem.rows },
    (_, r) => problem.scale[r * problem.size]!,
  );
  return { codes, scale, damping: 0 };
}

function describe(
  moved: number,
  count: number,
  before: QuantizedLayer,
  after: QuantizedLayer,
  damping: number,
): string {
  const text = `${moved} of ${count} weights not rounded to nearest${raised(damping)}`;
  if (before === after) return text;
  const factors = after.scale.map((s, i) => s / before.scale[i]!);
  return `${text}, scales times ${Math.min(...factors).toFixed(2)} … ${Math.max(...factors).toFixed(2)}`;
}

/** Adam on the relaxed roundings; returns the hard ones. */
async function learn(p: RoundingProblem, o: AdaroundOptions, ctx: PassContext): Promise<Float64Array> {
  const held = (q: number): number => Math.min(p.qmax, Math.max(p.qmin, q));
  const floor = p.exact.map(Math.floor);
  const lower = floor.map((q, i) => held(q) * p.scale[i]!);
  const gap = floor.map((q, i) => (held(q + 1) - held(q)) * p.scale[i]!);
  const share = p.exact.map((w, i) => w - floor[i]!);
  const up = await learnRounding({ ...p, lower, gap, share }, o, ctx);
  return p.nearest.map((code, i) => (p.frozen[i] === 1 ? code : held(floor[i]! + up[i]!)));
}
