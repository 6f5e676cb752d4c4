import * as z from 'zod';
import { add, mul, positive, scaled, sub, sum, unary } from '../../../autodiff/writer.ts';
import { learningKind, binaryOptions } from './kind.ts';
import { lsq } from './lsq.ts';
import { otherWidths } from './range_linear.ts';
import { meanMagnitude, type Method, type WeightRounder } from './surrogate.ts';

/**
 * y = p where w > Δ, −n where w < −Δ, else 0; Δ = t · max|w|, which no gradient goes through. p and n are learned, one each a layer: dp = Σ dy over the first,
 * dn = −Σ dy over the second; dw = dy times p, n, or 1 between. They begin at the mean magnitude of each side.
 */
function ternaryWeights(threshold: number): WeightRounder {
  const side = (data: Float32Array, sign: number): number => {
    const border = threshold * data.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    const above = data.filter((v) => sign * v > border);
    return above.length > 0 ? meanMagnitude(above) : Math.max(meanMagnitude(data), 1e-8);
  };
  return {
    label: 'ternary',
    keeps: ({ data }) => [1, -1].map((sign) => ({ name: sign > 0 ? 'positive' : 'negative', dims: [], first: Float32Array.of(side(data, sign)) })), // prettier-ignore
    write(w, x, kept) {
      const [p, n] = [kept('positive'), kept('negative')];
      const border = scaled(w, w.op('ReduceMax', [unary(w, 'Abs', x), w.ints([...x.dims.keys()])], [], { keepdims: 0 }), threshold); // prettier-ignore
      const above = positive(w, sub(w, x, border));
      const below = positive(w, sub(w, unary(w, 'Neg', x), border));
      return {
        y: sub(w, mul(w, above, p), mul(w, below, n)),
        surrogate: {
          inputs: [x.name, p.name, n.name],
          gradient(w, dy, needs) {
            const all = [...x.dims.keys()];
            const between = sub(w, sub(w, w.scalar(1), above), below);
            const by = add(w, between, add(w, mul(w, above, p), mul(w, below, n)));
            if (!needs(1) && !needs(2)) return [mul(w, dy, by), undefined, undefined];
            return [mul(w, dy, by), sum(w, mul(w, dy, above), all), unary(w, 'Neg', sum(w, mul(w, dy, below), all))];
          },
        },
      };
    },
  };
}

/** Zhu et al. 2017, TTQ (arXiv 1612.01064). Layers of another width than 2 bits are range-linear. */
export const ttq = ({ threshold }: { readonly threshold: number }): Method => ({
  refuse: (bits) => (bits === 2 ? undefined : otherWidths.refuse?.(bits)),
  weights: (bits) => (bits === 2 ? ternaryWeights(threshold) : otherWidths.weights(bits)),
  activations: (bits, facts) => lsq.activations(bits, facts),
});

export const ttqQuantizer = learningKind({
  name: 'train/surrogate/ttq',
  classes: ['TTQQuantizer'],
  summary: 'weights of three values, the outer two learned for each layer',
  source: 'Zhu et al. 2017, Trained Ternary Quantization (arXiv 1612.01064)',
  options: z.strictObject({
    ...binaryOptions,
    bits_weights: binaryOptions.bits_weights.default(2),
    threshold: z.number().positive().lt(1).default(0.05).meta({ description: 'what becomes 0, as a share of the largest magnitude' }), // prettier-ignore
  }),
  method: (o) => ttq(o),
});
