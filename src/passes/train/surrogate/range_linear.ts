import * as z from 'zod';
import { add, div, mul, positive, scaled, sub, unary, type Value } from '../../../autodiff/writer.ts';
import { roundHalfEven } from '../../../numerics/rounding.ts';
import { learningKind, learningOptions } from './kind.ts';
import { byChannel, largest, perChannel as perChannelOf, type ActivationRounder, type Method, type WeightFacts, type WeightRounder } from './surrogate.ts'; // prettier-ignore

const least = 1e-30;

/** y = s · round(w / s), s = max|w| / (2^(b − 1) − 1) of the weight as it is, for the tensor or each output channel; dw = dy. */
function rangeWeights(bits: number, perChannel: boolean): WeightRounder {
  const n = 2 ** (bits - 1) - 1;
  const own = (facts: WeightFacts): WeightFacts => (perChannel ? facts : { ...facts, axis: undefined });
  return {
    keeps: () => [],
    write(w, x, _kept, facts) {
      const { dims: kept, axes } = perChannelOf(own(facts));
      const most = w.op('ReduceMax', [unary(w, 'Abs', x), w.ints(axes)], kept, { keepdims: 1 });
      const s = scaled(w, w.op('Max', [most, w.scalar(least)], kept), 1 / n);
      const y = mul(w, unary(w, 'Round', div(w, x, s)), s);
      return { y, surrogate: { inputs: [x.name], gradient: (_, dy) => [dy] } };
    },
    step: (facts) => Float32Array.from(byChannel(own(facts)), (part) => Math.max(least, largest(part)) / n),
  };
}

/**
 * Codes 0 … 2^b − 1 over a range that follows the batches: e ← d · e + (1 − d) · (smallest, largest, with 0 among them), used as e / (1 − dᵗ). The range
 * of a batch counts before the batch is rounded. dx = dy inside the range.
 */
export function rangeActivations(bits: number, decay = 0.999): ActivationRounder {
  const n = 2 ** bits - 1;
  return {
    bits,
    keeps: () => ['low', 'high', 'weight'].map((name) => ({ name, dims: [], first: new Float32Array(1) })),
    write(w, x, kept) {
      const all = w.ints([...x.dims.keys()]);
      const end = (op: string): Value => w.op(op, [x, all], [], { keepdims: 0 });
      const low = w.op('Min', [end('ReduceMin'), w.scalar(0)], []);
      const high = w.op('Max', [end('ReduceMax'), w.scalar(0)], []);
      const follow = (name: string, now: Value): Value => add(w, scaled(w, kept(name), decay), scaled(w, now, 1 - decay)); // prettier-ignore
      const next = new Map([['low', follow('low', low)], ['high', follow('high', high)], ['weight', follow('weight', w.scalar(1))]]); // prettier-ignore
      const of = (name: string): Value => div(w, next.get(name)!, next.get('weight')!);
      const s = scaled(w, w.op('Max', [sub(w, of('high'), of('low')), w.scalar(least)], []), 1 / n);
      const zero = unary(w, 'Round', div(w, unary(w, 'Neg', of('low')), s));
      const u = add(w, unary(w, 'Round', div(w, x, s)), zero);
      const q = w.op('Clip', [u, w.scalar(0), w.scalar(n)], x.dims);
      const y = mul(w, sub(w, q, zero), s);
      return {
        y,
        next,
        surrogate: {
          inputs: [x.name],
          gradient(w, dy) {
            const room = mul(w, add(w, u, w.scalar(0.5)), sub(w, w.scalar(n + 0.5), u));
            return [mul(w, dy, positive(w, room))];
          },
        },
      };
    },
    affine(_, kept) {
      const [low, high, weight] = ['low', 'high', 'weight'].map((name) => kept(name)[0]!) as [number, number, number];
      if (weight === 0) return { scale: 1, zeroPoint: 0 };
      const scale = Math.fround(Math.max(least, high / weight - low / weight) / n);
      return { scale, zeroPoint: Math.min(n, Math.max(0, roundHalfEven(-low / weight / scale))) };
    },
  };
}

/** Jacob et al. 2018 (arXiv 1712.05877), section 3; Distiller's range-linear quantizer in symmetric restricted mode. */
export const rangeLinear = ({
  perChannel,
  decay,
}: {
  readonly perChannel: boolean;
  readonly decay: number;
}): Method => ({
  // prettier-ignore
  refuse: (bits) => (bits < 2 ? 'a range of one bit has no level but 0' : undefined),
  weights: (bits) => rangeWeights(bits, perChannel),
  activations: (bits) => rangeActivations(bits, decay),
});

const modes = ['SYMMETRIC', 'SYMMETRIC_RESTRICTED', 'ASYMMETRIC_SIGNED', 'ASYMMETRIC_UNSIGNED'] as const;
const mode = z.enum(modes);

/** Layers that are given another width than their method's. */
export const otherWidths = rangeLinear({ perChannel: true, decay: 0.999 });

export const rangeLinearQuantizer = learningKind({
  name: 'train/surrogate/range_linear',
  classes: ['QuantAwareTrainRangeLinearQuantizer', 'NCFQuantAwareTrainQuantizer'],
  summary: 'ranges of weights from their extremes, of activations from averages over the batches',
  source: 'Jacob et al. 2018 (arXiv 1712.05877), section 3; Distiller',
  options: z.strictObject({
    ...learningOptions,
    mode: z.union([mode, z.strictObject({ activations: mode.optional(), weights: mode.optional() })]).optional().meta({ description: "Distiller's, and changes nothing: weights are symmetric, restricted to what int8 holds, activations uint8 with a zero point" }), // prettier-ignore
    ema_decay: z.number().gt(0).lt(1).default(0.999).meta({ description: 'decay of the averages of activation ranges' }), // prettier-ignore
    per_channel_wts: z.boolean().default(false).meta({ description: 'one weight scale an output channel' }),
    quantize_inputs: z.boolean().optional().meta({ description: 'changes nothing: what a layer reads is held as its layer says' }), // prettier-ignore
    num_bits_inputs: z.unknown().optional().meta({ description: 'changes nothing, as quantize_inputs' }),
  }),
  method: ({ per_channel_wts: perChannel, ema_decay: decay }) => rangeLinear({ perChannel, decay }),
});
