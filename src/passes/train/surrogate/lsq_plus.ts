import * as z from 'zod';
import { add, div, mul, positive, scaled, sub, sum, unary } from '../../../autodiff/writer.ts';
import { roundHalfEven } from '../../../numerics/rounding.ts';
import { binaryOptions, learningKind } from './kind.ts';
import { lsq } from './lsq.ts';
import type { ActivationRounder, Method } from './surrogate.ts';

const leastStep = 1e-8;
/**
 * y = s · clip(round((x − β) / s), 0, n) + β, n = 2^b − 1, with β as the whole multiple of s that a zero point can hold. dx = dy inside; ds = g Σ dy · (round(v) − v
 * inside, v = (x − β) / s, 0 below, n above), dβ = g Σ dy outside, g = 1 / √(N n) for the N elements of one sample. They begin at the ends of the first batch.
 */
function offsetActivations(bits: number): ActivationRounder {
  const n = 2 ** bits - 1;
  const zero = (step: number, offset: number): number => Math.min(n, Math.max(0, roundHalfEven(-offset / step)));
  return {
    bits,
    keeps({ data }) {
      const low = data.reduce((m, v) => Math.min(m, v), 0);
      const high = data.reduce((m, v) => Math.max(m, v), 0);
      const step = Math.max(leastStep, (high - low) / n);
      return [
        { name: 'step', dims: [], first: Float32Array.of(step) },
        { name: 'offset', dims: [], first: Float32Array.of(low) },
      ];
    },
    write(w, x, kept) {
      const [step, offset] = [kept('step'), kept('offset')];
      const s = w.op('Max', [step, w.scalar(leastStep)], []);
      const code = w.op('Clip', [unary(w, 'Round', div(w, unary(w, 'Neg', offset), s)), w.scalar(0), w.scalar(n)], []);
      const v = add(w, div(w, x, s), code);
      const q = w.op('Clip', [unary(w, 'Round', v), w.scalar(0), w.scalar(n)], x.dims);
      const g = 1 / Math.sqrt(x.dims.slice(1).reduce((a, b) => a * b, n));
      return {
        y: mul(w, sub(w, q, code), s),
        surrogate: {
          inputs: [x.name, step.name, offset.name],
          gradient(w, dy) {
            const all = [...x.dims.keys()];
            const inside = positive(w, mul(w, v, sub(w, w.scalar(n), v)));
            const through = mul(w, dy, inside);
            const off = sub(w, mul(w, dy, q), mul(w, through, v));
            const outside = sub(w, dy, through);
            return [through, scaled(w, sum(w, off, all), g), scaled(w, sum(w, outside, all), g)];
          },
        },
      };
    },
    affine(_, kept) {
      const scale = Math.max(leastStep, kept('step')[0]!);
      return { scale, zeroPoint: zero(scale, kept('offset')[0]!) };
    },
  };
}

/** Bhalgat et al. 2020, LSQ+ (arXiv 2004.09576). What is never below 0 needs no offset. */
export const lsqPlus: Method = {
  refuse: (bits) => lsq.refuse?.(bits),
  weights: (bits) => lsq.weights(bits),
  activations: (bits, facts) => (facts.unsigned || bits === 1 ? lsq.activations(bits, facts) : offsetActivations(bits)),
};

export const lsqPlusQuantizer = learningKind({
  name: 'train/surrogate/lsq_plus',
  classes: ['LSQPlusQuantizer'],
  summary: 'as LSQ, and learns the offset of activations that can be below 0',
  source: 'Bhalgat et al. 2020, LSQ+ (arXiv 2004.09576)',
  options: z.strictObject(binaryOptions),
  method: () => lsqPlus,
});
