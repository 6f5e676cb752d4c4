import * as z from 'zod';
import { float32From } from '../grid.ts';
import { meanMagnitude } from './binary.ts';
import type { Fitted, Format, LevelSet, Look } from './format.ts';
import { bitsOption, clipOption } from './options.ts';
import { clippedScale } from './pact.ts';
import { largestOf, refittedScale, scaleOrZero } from './scale.ts';

const { atanh, tanh } = Math;

const options = z.strictObject({
  bits: bitsOption(1, 8, 4),
  clip: clipOption('mse').meta({ description: 'where activations are clipped: mse, max or a number; 1 in the paper' }),
});
type Options = z.infer<typeof options>;

/**
 * Weights: a · (2·q(tanh w / (2·max |tanh w|) + ½) − 1), q to 2^b even steps from 0 to 1; one bit: mean |w| · sign(w). The paper has a = 1 and trains the net for it; here a is that of least
 * squared error. Activations that are never negative: q(clip(x, 0, c)). Of those that are it treats as weights. Weights have no level 0.
 */
export const dorefa = {
  name: 'dorefa',
  summary: 'even steps after tanh for weights, clipped ones for activations',
  source: 'Zhou et al. 2016, DoReFa-Net (arXiv 1606.06160)',
  options,
  sharing: () => 'tensor',
  bits: ({ bits }) => bits,
  set: ({ bits }, signed) => ({ levels: steps(2 ** bits - 1, signed) }),
  fit: (values, o, look, set) =>
    look.signed ? fitWeights(values, o, look, set) : { set, scale: clippedScale(values, set, o.clip, look) },
} satisfies Format<Options>;

/** 0 … n over n, or 2·(0 … n)/n − 1. */
const steps = (n: number, signed: boolean): Float32Array =>
  Float32Array.from({ length: n + 1 }, (_, i) => (signed ? (2 * i) / n - 1 : i / n));

function fitWeights(values: Float32Array, { bits }: Options, { importance }: Look, { levels }: LevelSet): Fitted {
  if (bits === 1)
    return { set: { levels, thresholds: Float32Array.of(0) }, scale: scaleOrZero(meanMagnitude(values, importance)) };
  if (largestOf(values) === 0) return { set: { levels, thresholds: levels.slice(1).fill(0) }, scale: 0 };
  const n = levels.length - 1;
  const most = tanh(largestOf(values));
  // tanh(w) / (2·most) + ½ = (i + ½)/n, where q passes from i to i + 1.
  const thresholds = Float64Array.from({ length: n }, (_, i) => atanh(most * ((2 * i + 1) / n - 1)));
  const unit = { levels, thresholds: Float32Array.from(thresholds, float32From) };
  const scale = refittedScale(values, unit, 1, importance);
  // In units of the scale, as the levels are.
  return { set: { levels, thresholds: Float32Array.from(thresholds, (t) => float32From(t / scale)) }, scale };
}
