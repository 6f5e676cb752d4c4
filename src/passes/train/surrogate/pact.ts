import * as z from 'zod';
import { add, mul, positive, scaled, sub, sum } from '../../../autodiff/writer.ts';
import { clippedTo } from './clipped.ts';
import { dorefaWeights, dorefa } from './dorefa.ts';
import { learningKind, learningOptions } from './kind.ts';
import { rangeActivations } from './range_linear.ts';
import type { ActivationRounder, Method } from './surrogate.ts';

const leastClip = 1e-6;

/**
 * Activations held between 0 and a learned α: dx = dy where 0 < x < α, dα = Σ dy where x ≥ α, and 2 λ α for the penalty λ α².
 * @param first α when training begins; `decay` is λ.
 */
function pactActivations(bits: number, first: number, decay: number): ActivationRounder {
  return {
    bits,
    keeps: () => [{ name: 'clip', dims: [], first: Float32Array.of(first) }],
    write(w, x, kept) {
      const learned = kept('clip');
      const alpha = w.op('Max', [learned, w.scalar(leastClip)], []);
      const y = clippedTo(w, x, alpha, bits);
      return {
        y,
        surrogate: {
          inputs: [x.name, learned.name],
          gradient(w, dy, needs) {
            const below = positive(w, sub(w, alpha, x));
            const through = mul(w, dy, mul(w, positive(w, x), below));
            if (!needs(1)) return [through, undefined];
            const above = sum(w, mul(w, dy, sub(w, w.scalar(1), below)), [...x.dims.keys()]);
            return [through, decay === 0 ? above : add(w, above, scaled(w, alpha, 2 * decay))];
          },
        },
      };
    },
    affine: (_, kept) => ({ scale: Math.fround(Math.max(leastClip, kept('clip')[0]!) / (2 ** bits - 1)), zeroPoint: 0 }), // prettier-ignore
  };
}

/** Choi et al. 2018, PACT (arXiv 1805.06085). */
export const pact = ({ first, decay }: { readonly first: number; readonly decay: number }): Method => ({
  refuse: (bits) => dorefa.refuse?.(bits),
  weights: dorefaWeights,
  activations: (bits, { unsigned }) => (unsigned ? pactActivations(bits, first, decay) : rangeActivations(bits)),
});

export const pactQuantizer = learningKind({
  name: 'train/surrogate/pact',
  classes: ['PACTQuantizer'],
  summary: 'learns where activations are clipped; weights as DoReFa has them',
  source: 'Choi et al. 2018, PACT (arXiv 1805.06085)',
  options: z.strictObject({
    ...learningOptions,
    act_clip_init_val: z.number().positive().default(8).meta({ description: 'α when training begins' }),
    act_clip_decay: z.number().min(0).nullish().transform((value) => value ?? 1e-4).meta({ description: 'λ of the penalty λ α²; 0.0001 where not given' }), // prettier-ignore
  }),
  method: ({ act_clip_init_val: first, act_clip_decay: decay }) => pact({ first, decay }),
});
