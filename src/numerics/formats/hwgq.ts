import * as z from 'zod';
import { normalDensity as density, normalTail as tail, narrowed } from '../special.ts';
import type { Format, LevelSet } from './format.ts';
import { mirrored } from './minifloat.ts';
import { bitsOption, scaleOption } from './options.ts';
import { fitScale } from './scale.ts';

const { abs, max } = Math;

const options = z.strictObject({
  bits: bitsOption(1, 5, 2),
  spacing: z.enum(['uniform', 'lloyd']).default('uniform').meta({
    description: 'uniform: multiples of one step, as the paper uses; lloyd: the levels of least error',
  }),
  scale: scaleOption('mse'),
});
type Options = z.infer<typeof options>;

/**
 * Half-wave Gaussian quantization: 0 for x ≤ 0 and 2^b − 1 levels for what is above, the nearest of them and never 0; the levels of least
 * error for a normal variable, times a scale (the deviation, where a batch normalization is before). Where values are below 0 too: the levels of b − 1
 * bits for either sign, and 0 for 0 alone; with b = 1 the sign.
 */
export const hwgq = {
  name: 'hwgq',
  summary: 'levels of least error for the positive half of a normal distribution',
  source: 'Cai et al. 2017, HWGQ (arXiv 1702.00953)',
  options,
  sharing: () => 'tensor',
  notWeights: 'its levels are for activations behind a Relu; binary is what the paper takes for weights',
  bits: ({ bits }) => bits,
  set: levelSet,
  fit: (values, { scale }, look, set) => fitScale(values, set, scale, look),
} satisfies Format<Options>;

/** Below this part of the scale a value counts as 0. */
const nothing = 2 ** -149;

function levelSet({ bits, spacing }: Options, signed: boolean): LevelSet {
  if (signed && bits === 1) return { levels: mirrored(levelsOf(1, spacing)), thresholds: Float32Array.of(0) };
  const levels = levelsOf(2 ** (signed ? bits - 1 : bits) - 1, spacing).map(Math.fround);
  const middles = levels.map((q, i) => (i === 0 ? nothing : (levels[i - 1]! + q) / 2));
  const below = signed ? middles.map((t) => -t).reverse() : [];
  if (signed) below[below.length - 1] = 0;
  return { levels: mirrored([0, ...levels], signed), thresholds: Float32Array.of(...below, ...middles) };
}

const levelsOf = (count: number, spacing: Options['spacing']): number[] =>
  spacing === 'lloyd' ? lloyd(count) : uniformly(count);

/** Multiples of the step of least error for a half normal variable. */
function uniformly(count: number): number[] {
  const at = (step: number): number[] => Array.from({ length: count }, (_, i) => (i + 1) * step);
  const [lo, hi] = narrowed(
    (step) => halfError(at(step)),
    [0, 2],
    (a, b) => b - a > 1e-9,
  );
  return at((lo + hi) / 2);
}

/** E(x − nearest level)² of a half normal variable. */
function halfError(levels: readonly number[]): number {
  return levels.reduce((sum, q, i) => {
    const [a, b] = cell(levels, i);
    const mass = tail(a) - tail(b);
    const mean = density(a) - density(b);
    return sum + 2 * (mass * (1 + q * q) + a * density(a) - (b === Infinity ? 0 : b * density(b)) - 2 * q * mean);
  }, 0);
}

/** From where to where level i is the nearest. */
const cell = (levels: readonly number[], i: number): readonly [number, number] => [
  i === 0 ? 0 : (levels[i - 1]! + levels[i]!) / 2,
  i + 1 === levels.length ? Infinity : (levels[i]! + levels[i + 1]!) / 2,
];

/** Lloyd's levels: each the mean of what it holds. */
function lloyd(count: number): number[] {
  let levels = uniformly(count);
  for (let step = 0; step < 5000; step++) {
    const next = levels.map((_, i) => {
      const [a, b] = cell(levels, i);
      return (density(a) - density(b)) / (tail(a) - tail(b));
    });
    const moved = max(...next.map((q, i) => abs(q - levels[i]!)));
    levels = next;
    if (moved < 1e-9) break;
  }
  return levels;
}
