import * as z from 'zod';
import {
  add,
  div,
  mean,
  mul,
  positive,
  scaled,
  sub,
  unary,
  unbroadcast,
  type Value,
} from '../../../autodiff/writer.ts';
import { binaryMethod, signOptions } from './binary_connect.ts';
import { learningKind } from './kind.ts';
import { byChannel, channelDims, meanMagnitude, perChannel, type Method, type WeightRounder } from './surrogate.ts';

const { exp, SQRT2 } = Math;

/** What τ is: from the first to the last along A eᵗ + B, t the share of the epochs that are over. */
const tauAt = (first: number, last: number, done: number): number => first + ((last - first) / (exp(1) - 1)) * (exp(done) - 1); // prettier-ignore

/**
 * Each output channel is brought to mean 0 and deviation 2√2, and held within ±Q, the τ-quantile of a Laplace distribution, Q = −mean|w| ln(2 − 2τ) over the layer: weights far out, which would never change
 * their sign, come back. y = α · sign, α learned for each channel; the gradient goes through the sign whole, and through the clamp and the deviation; dα = Σ dy · sign.
 */
function revivedWeights(first: number, last: number): WeightRounder {
  return {
    label: 'binary',
    keeps: (facts) => [
      { name: 'scale', dims: channelDims(facts), first: Float32Array.from(byChannel(facts), meanMagnitude) },
      { name: 'tau', dims: [], first: Float32Array.of(first) },
    ],
    found: { names: ['tau'], each: 'epoch', find: (_, __, done) => new Map([['tau', Float32Array.of(tauAt(first, last, done))]]) }, // prettier-ignore
    write(w, x, kept, facts) {
      const { axes } = perChannel(facts);
      const averaged = (v: Value): Value => mean(w, v, axes, true);
      const centred = sub(w, x, averaged(x));
      const root = unary(w, 'Sqrt', add(w, averaged(mul(w, centred, centred)), w.scalar(1e-5)));
      const grown = scaled(w, div(w, centred, root), 2 * SQRT2);
      const size = mean(w, unary(w, 'Abs', grown), [...x.dims.keys()]);
      const bound = mul(w, size, unary(w, 'Neg', unary(w, 'Log', sub(w, w.scalar(2), scaled(w, kept('tau'), 2)))));
      const sign = unary(w, 'Sign', add(w, grown, w.scalar(1e-30)));
      const alpha = kept('scale');
      return {
        y: mul(w, sign, alpha),
        surrogate: {
          inputs: [x.name, alpha.name],
          gradient(w, dy, needs) {
            const inside = positive(w, sub(w, bound, unary(w, 'Abs', grown)));
            const through = scaled(w, div(w, mul(w, mul(w, dy, alpha), inside), root), 2 * SQRT2);
            return [through, needs(1) ? unbroadcast(w, mul(w, dy, sign), alpha.dims) : undefined];
          },
        },
      };
    },
    step: (_, kept) => kept('scale').map((v) => Math.max(Math.abs(v), 1e-30)),
  };
}

/** Xu et al. 2021, ReCU (arXiv 2103.12369). */
export const recu = ({ first, last }: { readonly first: number; readonly last: number }): Method => binaryMethod(() => revivedWeights(first, last), 'triangle'); // prettier-ignore

const quantile = z.number().gt(0.5).lt(1);

export const recuQuantizer = learningKind({
  name: 'train/surrogate/recu',
  classes: ['ReCUQuantizer'],
  summary: 'signs of weights that are brought to one deviation and held within a quantile, so that none is dead',
  source: 'Xu et al. 2021, ReCU (arXiv 2103.12369)',
  options: signOptions.extend({
    tau_start: quantile
      .default(0.85)
      .meta({ description: 'quantile that weights are held within when training begins' }),
    tau_end: quantile.default(0.99).meta({ description: 'and when it ends' }),
  }),
  method: ({ tau_start: first, tau_end: last }) => recu({ first, last }),
});
