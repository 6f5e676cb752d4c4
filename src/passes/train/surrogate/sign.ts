import {
  add,
  mean,
  mul,
  positive,
  scaled,
  sub,
  unary,
  unbroadcast,
  type GraphWriter,
  type Value,
} from '../../../autodiff/writer.ts';
import { byChannel, channelDims, meanMagnitude, perChannel, type ActivationRounder, type WeightFacts, type WeightRounder } from './surrogate.ts'; // prettier-ignore

/**
 * What is nearer to 0 than half of it has no sign. QuantizeLinear of this scale gives every other number a code at least one from the zero point,
 * and a Clip of the codes leaves that one: so integer kernels make signs.
 */
const least = 2 ** -20;

/** How gradients go through the sign of an activation: all of them where |x| < 1, or 2 − 2|x| of them (Bi-Real's second-order polynomial). */
export type SignSlope = 'window' | 'triangle';

/** Activations as their signs; dx as the slope says. */
export function signActivations(slope: SignSlope): ActivationRounder {
  return {
    bits: 8,
    keeps: () => [],
    write(w, x) {
      const y = w.op('Clip', [unary(w, 'Round', scaled(w, x, 1 / least)), w.scalar(-1), w.scalar(1)], x.dims);
      const gradient = (w: GraphWriter, dy: Value): Value[] => {
        const room = sub(w, w.scalar(1), unary(w, 'Abs', x));
        return [mul(w, dy, slope === 'window' ? positive(w, room) : scaled(w, unary(w, 'Relu', room), 2))];
      };
      return { y, surrogate: { inputs: [x.name], gradient } };
    },
    affine: () => ({ scale: 1, zeroPoint: 128, step: least, codes: { low: 127, high: 129 } }),
  };
}

/** Gradients by a weight for those by the signed one: dy; that without what leads beyond ±1; dy · (1/n + α · 1[|w| < 1]); dy · α · 1[|w| ≤ 1]. */
export type SignGradient = 'bounded' | 'xnor' | 'magnitude';

const means = (facts: WeightFacts): Float32Array => Float32Array.from(byChannel(facts), meanMagnitude);
const leastScale = 1e-30;

/** y = α · sign(w), sign(0) = 1; α is 1, or the mean magnitude of each output channel, or begins there and is learned: dα = Σ dy sign(w). */
export function signWeights(scale: 'one' | 'mean' | 'learned', gradient: SignGradient): WeightRounder {
  return {
    label: 'binary',
    keeps: (facts) => (scale === 'learned' ? [{ name: 'scale', dims: channelDims(facts), first: means(facts) }] : []),
    write(w, x, kept, facts) {
      const { axes } = perChannel(facts);
      const averaged = (): Value => mean(w, unary(w, 'Abs', x), axes, true);
      const alpha = scale === 'one' ? w.scalar(1) : scale === 'mean' ? averaged() : kept('scale');
      const sign = unary(w, 'Sign', add(w, x, w.scalar(1e-30)));
      const n = axes.reduce((count, axis) => count * x.dims[axis]!, 1);
      return {
        y: mul(w, sign, alpha),
        surrogate: {
          inputs: [x.name, ...(scale === 'learned' ? [alpha.name] : [])],
          gradient(w, dy, needs) {
            const inside = positive(w, sub(w, w.scalar(1), unary(w, 'Abs', x)));
            // Beyond ±1 a step is let through that leads back: where the gradient has the weight's sign.
            const bounded = (): Value => w.op('Max', [inside, positive(w, mul(w, dy, x))], x.dims);
            const xnor = (): Value => add(w, mul(w, inside, alpha), w.scalar(1 / n));
            const by = gradient === 'bounded' ? bounded() : gradient === 'xnor' ? xnor() : mul(w, inside, alpha);
            return [mul(w, dy, by), needs(1) ? unbroadcast(w, mul(w, dy, sign), alpha.dims) : undefined];
          },
        },
      };
    },
    step: (facts, kept) => {
      const sizes = scale === 'learned' ? kept('scale').map(Math.abs) : means(facts);
      return sizes.map((size) => (scale === 'one' ? 1 : Math.max(size, leastScale)));
    },
  };
}
