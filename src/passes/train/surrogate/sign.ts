import { add, mul, positive, scaled, sub, unary, type GraphWriter, type Value } from '../../../autodiff/writer.ts';
import { byChannel, channelDims, meanMagnitude, type ActivationRounder, type WeightFacts, type WeightRounder } from './surrogate.ts'; // prettier-ignore

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

/** y = α · sign(w), sign(0) = 1; α is 1, or the mean magnitude of each output channel. */
export function signWeights(scale: 'one' | 'mean', gradient: SignGradient): WeightRounder {
  const sizes = (facts: WeightFacts): number[] => byChannel(facts).map((part) => (scale === 'one' ? 1 : Math.fround(meanMagnitude(part)))); // prettier-ignore
  return {
    label: 'binary',
    keeps: () => [],
    write(w, x, _kept, facts) {
      const dims = facts.axis === undefined ? x.dims.map(() => 1) : channelDims(facts);
      const axes = [...x.dims.keys()].filter((i) => dims[i] === 1);
      const alpha = scale === 'one' ? w.scalar(1) : w.op('ReduceMean', [unary(w, 'Abs', x), w.ints(axes)], dims, { keepdims: 1 }); // prettier-ignore
      const sign = unary(w, 'Sign', add(w, x, w.scalar(1e-30)));
      const n = axes.reduce((count, axis) => count * x.dims[axis]!, 1);
      return {
        y: mul(w, sign, alpha),
        surrogate: {
          inputs: [x.name],
          gradient(w, dy) {
            const inside = positive(w, sub(w, w.scalar(1), unary(w, 'Abs', x)));
            if (gradient === 'xnor') return [mul(w, dy, add(w, mul(w, inside, alpha), w.scalar(1 / n)))];
            if (gradient === 'magnitude') return [mul(w, dy, mul(w, inside, alpha))];
            // Beyond ±1 a step is let through that leads back: where the gradient has the weight's sign.
            const back = positive(w, mul(w, dy, x));
            return [mul(w, dy, w.op('Max', [inside, back], x.dims))];
          },
        },
      };
    },
    step: (facts) => Float32Array.from(sizes(facts), (size) => Math.max(size, 1e-30)),
  };
}
