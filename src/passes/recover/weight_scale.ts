import * as z from 'zod';
import { descendRounding, integerLevels } from '../../numerics/rounding_descent.ts';
import type { Steps } from '../../util/steps.ts';
import { leftAlone, type Pass } from '../pass.ts';
import { afterQuantizer } from './after_quantizer.ts';
import { meanError, roundingProblem, rowError, toCodes, type RoundingProblem } from './rounding_problem.ts';
import type { QuantizedLayer } from './sites.ts';

const options = z.strictObject({
  samples: z.number().int().positive().default(512).meta({ description: 'calibration samples' }),
  steps: z.number().int().min(2).default(24).meta({ description: 'scales tried for each output' }),
  rounding: z.enum(['nearest', 'descent']).default('nearest').meta({
    description: 'how weights are rounded at each scale that is tried: to nearest, or by coordinate descent as well',
  }),
  damping: z.number().min(0).default(0.01).meta({ description: 'as in AdaRound' }),
});

type ScaleOptions = z.infer<typeof options>;

/**
 * Chooses the scale of each output's weights by the mean squared error of that output on calibration data, rather than by the
 * largest weight; the mean error that is left goes into the bias. A layer too large for the error's full form is left as it is.
 */
export const weightScale: Pass<ScaleOptions> = {
  name: 'recover/weight_scale',
  section: 'extensions',
  follows: 'quantizers',
  classes: ['WeightScaleSearch'],
  summary: 'scales of quantized weights by the error of the outputs instead of the largest weight; after a quantizer',
  source: 'own; the error is that of Nagel et al. 2020 (arXiv 2004.10568)',
  options,
  inBodies: { unseen: leftAlone },
  apply: (model, o, ctx) =>
    afterQuantizer(
      model,
      ctx,
      { samples: o.samples, doing: 'choosing scales for', unfit },
      async (layer, moments, breathe) => {
        const problem = await breathe(roundingProblem(layer, moments, layer.bias !== undefined, o.damping), 0, 0.1);
        const codes = problem.nearest.slice();
        const factors = await breathe(bestFactors(problem, layer.scale.length, codes, o), 0.1);
        const scale = layer.scale.map((s, row) => s * factors[row]!);
        const range = [Math.min(...factors), Math.max(...factors)];
        return {
          text: `scales times ${range.map((f) => f.toFixed(3)).join(' … ')}`,
          codes: toCodes(layer, codes),
          scale,
          correction: meanError({ ...layer, scale }, moments, codes),
        };
      },
    ),
};

/** Multiplications that a layer may take for the scales looked at closely, and beyond which it is left alone altogether. */
const closeLook = 1e8;
const workLimit = 5e9;

function unfit({ rescalable, weights, scale }: QuantizedLayer): string | undefined {
  if (!rescalable) return 'its scales are not for its outputs alone';
  return weights.length * (weights.length / scale.length) > workLimit ? 'too many weights an output' : undefined;
}

/** The factor of each row's scale. */
function* bestFactors(p: RoundingProblem, rows: number, codes: Float64Array, o: ScaleOptions): Steps<Float32Array> {
  const factors = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    factors[row] = bestFactor(p, row, codes, o);
    yield row / rows;
  }
  return factors;
}

/** The factor of a row's scale that is best for its output; its codes are left in `codes`. */
function bestFactor(p: RoundingProblem, row: number, codes: Float64Array, o: ScaleOptions): number {
  const { size, qmin, qmax } = p;
  const [from, to] = [row * size, (row + 1) * size];
  const group = Math.floor(row / p.rows) * size * size;
  const gram = p.gram.subarray(group, group + size * size);
  const target = p.target.subarray(from, to);
  const exact = p.exact.subarray(from, to);
  const frozen = p.frozen.subarray(from, to);
  const alone = { ...p, groups: 1, rows: 1, gram, target };
  let best = 1;
  let least = Infinity;
  // Few levels gain from clipping; many only from a grid that happens to suit the weights.
  const lowest = qmax <= 7 ? 0.4 : qmax <= 31 ? 0.7 : 0.85;
  const round = (w: number, factor: number): number => Math.min(qmax, Math.max(qmin, Math.round(w / factor)));
  // The diagonal tells which scales are worth the whole error, where that is dear.
  const diagonal = (factor: number): number =>
    exact.reduce((sum, w, i) => {
      const error = (w - round(w, factor) * factor) * p.scale[from + i]!;
      return sum + error * error * gram[i * size + i]!;
    }, 0);
  const bound = p.least[row]! / p.scale[from]!;
  const factors = Array.from({ length: o.steps }, (_, i) => Math.max(bound, 1 - ((1 - lowest) * i) / (o.steps - 1)))
    .map((factor) => ({ factor, guess: diagonal(factor) }))
    .sort((a, b) => a.guess - b.guess)
    .slice(0, Math.max(4, Math.floor(closeLook / (p.rows * p.groups * size * size))));
  for (const { factor } of factors) {
    const scale = p.scale.slice(from, to).map((s) => s * factor);
    const tried = exact.map((w) => round(w, factor));
    if (o.rounding === 'descent')
      descendRounding(tried, integerLevels(scale, qmin, qmax), gram, target, { rows: 1, size }, { frozen });
    const error = rowError({ ...alone, scale }, 0, tried);
    if (error >= least) continue;
    [least, best] = [error, factor];
    codes.set(tried, from);
  }
  return best;
}
