import * as z from 'zod';
import { distinctLevels, float32From, gridError, nextFloat32 } from '../grid.ts';
import type { Fitted, Format, LevelSet, Look } from './format.ts';
import { bitsOption } from './options.ts';
import { sampled, unitOf } from './scale.ts';

const { floor } = Math;

const share = z.number().min(0).max(0.99);

const options = z.strictObject({
  bits: bitsOption(2, 8, 4).meta({ description: 'bits of a code: 0 and 2^b − 1 intervals' }),
  prune: z
    .union([z.literal('search'), share])
    .default('search')
    .meta({
      description: 'share p of the positive and of the negative weights that become 0; search: that of least error',
    }),
  price: z.number().min(0).max(1).default(0).meta({
    description: 'what keeping all weights counts, as a share of their power: the larger, the more the search prunes',
  }),
});
type Options = z.infer<typeof options>;

/** Shares that are tried. */
const step = 0.02;
const mostShare = 0.98;
const mostValues = 2 ** 16;

/**
 * CLIP-Q: of the positive weights, and of the negative, the share p of smallest magnitude becomes 0; the axis from c⁺ to the largest and from
 * c⁻ to the least is cut into 2^b − 1 intervals of equal width, shared out by length, and each weight becomes the mean of its interval. p is that of
 * least squared error, errors weighted by importance, plus `price` for each weight that is kept: Σ e² + price · kept share · Σ w².
 */
export const clipQ = {
  name: 'clip_q',
  summary: 'the smallest weights 0, the others the means of even intervals: pruning and quantization in one',
  source: 'Tung and Mori 2018, CLIP-Q (CVPR)',
  options,
  sharing: () => 'tensor',
  notActivations: 'its levels are the means of known weights; int and hwgq are for activations',
  bits: ({ bits }) => bits,
  fit,
} satisfies Format<Options>;

function fit(all: Float32Array, o: Options, look: Look): Fitted {
  const { values, importance } = sampled(all, look.importance, mostValues);
  const sides = [
    values.filter((v) => v > 0).sort(),
    values
      .filter((v) => v < 0)
      .map((v) => -v)
      .sort(),
  ] as const;
  const setOf = (p: number): LevelSet => clipped(values, importance, sides, p, 2 ** o.bits - 1);
  if (o.prune !== 'search') return { set: setOf(o.prune), scale: 1 };
  const weighted = (i: number): number => (importance?.[i] ?? 1) * values[i]! ** 2;
  const power = values.reduce((sum, _, i) => sum + weighted(i), 0);
  let [best, least] = [setOf(0), Infinity];
  for (let i = 0; i * step <= mostShare; i++) {
    const p = i * step;
    const set = setOf(p);
    const error = gridError(unitOf(set), values, importance);
    const cost = error + o.price * (1 - p) * power;
    if (cost < least) [best, least] = [set, cost];
  }
  return { set: best, scale: 1 };
}

/** Levels and thresholds with the share p of either side at 0. */
function clipped(
  values: Float32Array,
  importance: Look['importance'],
  [positive, negative]: readonly [Float32Array, Float32Array],
  p: number,
  intervals: number,
): LevelSet {
  // Where a side begins: its smallest magnitude that is kept; and how long it is.
  const from = (side: Float32Array): number => side[floor(p * side.length)] ?? Infinity;
  const [above, below] = [from(positive), from(negative)];
  const length = (side: Float32Array, start: number): number => (side.length > 0 ? side.at(-1)! - start : 0);
  const [right, left] = [length(positive, above), length(negative, below)];
  const most = intervals - (positive.length > 0 ? 1 : 0);
  const fair = right + left > 0 ? Math.round((intervals * left) / (right + left)) : floor(intervals / 2);
  const ofLeft = negative.length > 0 ? Math.max(1, Math.min(most, fair)) : 0;
  const ofRight = positive.length > 0 ? intervals - ofLeft : 0;
  const starts = (count: number, start: number, all: number): number[] =>
    Array.from({ length: count }, (_, i) => start + (i * all) / count);
  const edges = Float32Array.of(
    ...starts(ofLeft, below, left)
      .map((edge) => after(-edge))
      .reverse(),
    ...starts(ofRight, above, right).map(float32From),
  );
  const zero = ofLeft;
  const [sums, weights] = [new Float64Array(edges.length + 1), new Float64Array(edges.length + 1)];
  for (let i = 0; i < values.length; i++) {
    const at = bin(edges, values[i]!);
    const w = importance?.[i] ?? 1;
    sums[at]! += w * values[i]!;
    weights[at]! += w;
  }
  // Intervals without weights have no level.
  const kept = [...sums.keys()].filter((at) => at === zero || weights[at]! > 0);
  const levels = kept.map((at) => (at === zero ? 0 : sums[at]! / weights[at]!));
  const distinct = distinctLevels(levels);
  if (distinct.length !== levels.length) return { levels: distinct };
  return { levels: distinct, thresholds: Float32Array.from(kept.slice(1), (at) => edges[at - 1]!) };
}

const bin = (edges: Float32Array, v: number): number => {
  let at = 0;
  while (at < edges.length && v >= edges[at]!) at++;
  return at;
};

/** The first float32 number that is above x. */
function after(x: number): number {
  const near = float32From(x);
  return near > x ? near : nextFloat32(near);
}
