import * as z from 'zod';
import { div, mul, positive, scaled, sub, unary, unbroadcast, type GraphWriter, type Value } from '../../../autodiff/writer.ts'; // prettier-ignore
import { elementCount } from '../../../graph/tensor.ts';
import { binaryOptions, learningKind } from './kind.ts';
import { signActivations } from './sign.ts';
import { byChannel, channelDims, meanMagnitude, type ActivationRounder, type Method, type Rounded, type WeightRounder } from './surrogate.ts'; // prettier-ignore

/** Least step: a learned one must stay above 0. */
const leastStep = 1e-8;

/** The ends of the codes, less the zero point. */
interface Levels {
  readonly low: number;
  readonly high: number;
}

const signed = (bits: number): Levels => ({ low: -(2 ** (bits - 1)), high: 2 ** (bits - 1) - 1 });

/**
 * y = s · clip(round(x / s), low, high). dx = dy where low < x / s < high; ds = g Σ dy · (clip(round(x / s)) − x / s inside, the end outside), with
 * g = 1 / √(n · high), n the numbers that share the step.
 */
export function writeSteps(w: GraphWriter, x: Value, step: Value, { low, high }: Levels, share: number): Rounded {
  const s = w.op('Max', [step, w.scalar(leastStep)], step.dims);
  const v = div(w, x, s);
  const q = w.op('Clip', [unary(w, 'Round', v), w.scalar(low), w.scalar(high)], x.dims);
  const y = mul(w, q, s);
  const g = 1 / Math.sqrt(share * Math.max(1, high));
  return {
    y,
    surrogate: {
      inputs: [x.name, step.name],
      gradient(w, dy, needs) {
        const inside = positive(w, mul(w, sub(w, v, w.scalar(low)), sub(w, w.scalar(high), v)));
        const through = mul(w, dy, inside);
        if (!needs(1)) return [through, undefined];
        const off = sub(w, mul(w, dy, q), mul(w, through, v));
        return [through, scaled(w, unbroadcast(w, off, step.dims), g)];
      },
    },
  };
}

/** The first step: 2 · mean|v| / √high. */
const firstStep = (data: Float32Array, { high }: Levels): number => Math.max(leastStep, (2 * meanMagnitude(data)) / Math.sqrt(Math.max(1, high))); // prettier-ignore

function lsqWeights(bits: number): WeightRounder {
  const levels = signed(bits);
  return {
    keeps: (facts) => [{ name: 'step', dims: channelDims(facts), first: Float32Array.from(byChannel(facts), (part) => firstStep(part, levels)) }], // prettier-ignore
    write: (w, x, kept, facts) => writeSteps(w, x, kept('step'), levels, facts.data.length / byChannel(facts).length),
    step: (_, kept) => kept('step').map((s) => Math.max(leastStep, s)),
  };
}

function lsqActivations(bits: number, unsigned: boolean): ActivationRounder {
  const levels = unsigned ? { low: 0, high: 2 ** bits - 1 } : signed(bits);
  return {
    bits,
    keeps: ({ data }) => [{ name: 'step', dims: [], first: Float32Array.of(firstStep(data, levels)) }],
    write: (w, x, kept) => writeSteps(w, x, kept('step'), levels, elementCount(x.dims.slice(1))), // prettier-ignore
    affine: (_, kept) => ({ scale: Math.max(leastStep, kept('step')[0]!), zeroPoint: 0 - levels.low }),
  };
}

/** Learned step size: Esser et al. 2020 (arXiv 1902.08153). */
export const lsq: Method = {
  refuse: (bits) => (bits < 2 ? 'weights of one bit are left to other methods' : undefined),
  weights: lsqWeights,
  // Of one bit and both signs there is nothing but the sign.
  activations: (bits, { unsigned }) =>
    bits === 1 && !unsigned ? signActivations('window') : lsqActivations(bits, unsigned),
};

export const lsqQuantizer = learningKind({
  name: 'train/surrogate/lsq',
  classes: ['LSQQuantizer'],
  summary: 'learns the step of every weight channel and activation by its gradient',
  source: 'Esser et al. 2020, Learned Step Size Quantization (arXiv 1902.08153)',
  options: z.strictObject(binaryOptions),
  method: () => lsq,
});
