import * as z from 'zod';
import { div, mul, scaled, sub, unary } from '../../../autodiff/writer.ts';
import { clippedActivations } from './clipped.ts';
import { rangeActivations } from './range_linear.ts';
import { learningKind, learningOptions } from './kind.ts';
import { largest, meanMagnitude, type Method, type WeightFacts, type WeightRounder } from './surrogate.ts';

/** The largest magnitude of the tangents, in float32, as the graph has it. */
const largestTangent = ({ data }: WeightFacts): number => Math.fround(Math.tanh(largest(data)));

/**
 * k > 1 bits: t = tanh(w), y = M · (2 round(n · (t / 2M + ½)) / n − 1) with n = 2^k − 1 and M = max|t|; dw = dy · (1 − t²), through the rounding and
 * with M standing still. 1 bit: y = E · sign(w), E = mean|w| and sign(0) = 1; dw = dy. The paper has no factor M: it is a number for the layer, which a
 * normalization behind it takes out again, and without one a trained network keeps its scale by it.
 */
export function dorefaWeights(bits: number): WeightRounder {
  const n = 2 ** bits - 1;
  if (bits === 1)
    return {
      keeps: () => [],
      write(w, x) {
        const all = [...x.dims.keys()];
        const size = w.op('ReduceMean', [unary(w, 'Abs', x), w.ints(all)], x.dims.map(() => 1), { keepdims: 1 }); // prettier-ignore
        // A sign that is never 0: of x + 10⁻³⁰, which is x wherever that is not 0.
        const y = mul(w, size, unary(w, 'Sign', w.op('Add', [x, w.scalar(1e-30)], x.dims)));
        return { y, surrogate: { inputs: [x.name], gradient: (_, dy) => [dy] } };
      },
      step: ({ data }) => Float32Array.of(meanMagnitude(data)),
    };
  return {
    keeps: () => [],
    write(w, x) {
      const t = unary(w, 'Tanh', x);
      const all = w.op('ReduceMax', [unary(w, 'Abs', t), w.ints([...x.dims.keys()])], x.dims.map(() => 1), { keepdims: 1 }); // prettier-ignore
      const m = w.op('Max', [all, w.scalar(1e-30)], all.dims);
      const at = w.op('Add', [scaled(w, div(w, t, m), n / 2), w.scalar(n / 2)], x.dims);
      const code = sub(w, scaled(w, unary(w, 'Round', at), 2), w.scalar(n));
      const y = mul(w, code, scaled(w, m, 1 / n));
      return {
        y,
        surrogate: { inputs: [x.name], gradient: (w, dy) => [mul(w, dy, sub(w, w.scalar(1), mul(w, t, t)))] },
      };
    },
    step: (facts) => Float32Array.of(largestTangent(facts) / n),
  };
}

/** Codes of more than 7 bits are up to 255 half steps from 0. */
const mostBits = 7;

/** Zhou et al. 2016, DoReFa-Net (arXiv 1606.06160), without quantized gradients. */
export const dorefa: Method = {
  refuse: (bits) => (bits > mostBits ? `levels of ${bits} bits without a 0 fit no int8 code: at most ${mostBits}` : undefined), // prettier-ignore
  weights: dorefaWeights,
  activations: (bits, { unsigned }) => (unsigned ? clippedActivations(bits, 1) : rangeActivations(bits)),
};

export const dorefaQuantizer = learningKind({
  name: 'train/surrogate/dorefa',
  classes: ['DorefaQuantizer'],
  summary: 'holds tanh of the weights, and activations between 0 and 1, in few bits',
  source: 'Zhou et al. 2016, DoReFa-Net (arXiv 1606.06160)',
  options: z.strictObject(learningOptions),
  method: () => dorefa,
});
