import * as z from 'zod';
import { mirrored } from './minifloat.ts';
import type { Fitted, Format } from './format.ts';
import { symmetric } from './log2.ts';
import { bitsOption } from './options.ts';
import { sampled } from './scale.ts';

const { abs, log, max, min, sqrt } = Math;

const options = z.strictObject({
  bits: bitsOption(1, 7, 4),
  zero: z.boolean().default(true).meta({ description: 'whether 0 is a level: 2^b − 1 levels with it, 2^b without' }),
});

const mostValues = 2 ** 16;
const mostRounds = 100;

/**
 * Clusters of |w| in order that maximize −Σ wpᵢ·ln(pᵢ/2): pᵢ the share of weights in cluster i, wpᵢ their sum of squares by the number of all weights; the
 * cluster of 0 is not in the sum. Level: the root of the mean square of its cluster; it holds from the cluster's least magnitude on.
 */
export const weq = {
  name: 'weq',
  summary: 'clusters of largest weighted entropy: few levels for many small weights, more for the large that matter',
  source: 'Park, Ahn and Yoo 2017, Weighted-Entropy-Based Quantization (CVPR); EunhyeokPark/caffe-WQ',
  options,
  sharing: () => 'tensor',
  notActivations: 'its clusters are those of known weights; log2 is what the paper takes for activations',
  bits: ({ bits }) => bits,
  fit: (values, o) => fit(sampled(values, undefined, mostValues).values, o),
} satisfies Format<z.infer<typeof options>>;

function fit(values: Float32Array, { bits, zero }: z.infer<typeof options>): Fitted {
  const sizes = values.map(abs).sort();
  const n = sizes.length;
  const squares = new Float64Array(n + 1);
  for (let i = 0; i < n; i++) squares[i + 1] = squares[i]! + sizes[i]! ** 2;
  const hasZero = zero && bits > 1;
  const clusters = 2 ** (bits - 1);
  // With bits = 1 there is no room for 0 beside both signs.
  const term = (i: number, from: number, to: number): number =>
    to <= from || (hasZero && i === 0) ? 0 : (-(squares[to]! - squares[from]!) / n) * log((to - from) / n / 2);
  const zeros = sizes.findIndex((s) => s > 0);
  const least = hasZero && zeros > 0 ? zeros : 0;
  const cuts = Array.from({ length: clusters + 1 }, (_, i) => max(i > 0 ? least : 0, Math.round((i * n) / clusters)));
  for (let round = 0; round < mostRounds; round++) {
    let moved = false;
    for (let i = 1; i < clusters; i++) {
      const [low, high] = [i === 1 ? max(least, cuts[0]!) : cuts[i - 1]!, cuts[i + 1]!];
      const worth = (cut: number): number => term(i - 1, cuts[i - 1]!, cut) + term(i, cut, high);
      const next = highest(worth, low, high);
      if (worth(next) > worth(cuts[i]!) * (1 + 1e-12)) [cuts[i], moved] = [next, true];
    }
    if (!moved) break;
  }
  return { set: asSet(sizes, squares, cuts, hasZero), scale: 1 };
}

/** The cut of largest worth: by thirds, and then every cut near the place. */
function highest(worth: (cut: number) => number, low: number, high: number): number {
  let [lo, hi] = [low, high];
  while (hi - lo > 8) {
    const third = Math.floor((hi - lo) / 3);
    if (worth(lo + third) < worth(hi - third)) lo += third;
    else hi -= third;
  }
  let best = lo;
  for (let cut = max(low, lo - 8); cut <= min(high, hi + 8); cut++) if (worth(cut) > worth(best)) best = cut;
  return best;
}

/** Levels and thresholds of clusters that hold something, and differ. */
function asSet(sizes: Float32Array, squares: Float64Array, cuts: readonly number[], hasZero: boolean) {
  const levels: number[] = hasZero ? [0] : [];
  const from: number[] = [];
  for (let i = hasZero ? 1 : 0; i + 1 < cuts.length; i++) {
    const [a, b] = [cuts[i]!, cuts[i + 1]!];
    if (b <= a) continue;
    const level = Math.fround(sqrt((squares[b]! - squares[a]!) / (b - a)));
    if (level <= (levels.at(-1) ?? 0)) continue;
    levels.push(level);
    from.push(sizes[a]!);
  }
  if (levels.length === 0) return { levels: Float32Array.of(0) };
  return { levels: mirrored(levels), thresholds: hasZero ? symmetric(from) : withoutZero(from) };
}

/** Without a level at 0 the sign alone decides between the least two. */
const withoutZero = (from: readonly number[]): Float32Array => {
  const outer = symmetric(from.slice(1));
  const half = outer.length / 2;
  return Float32Array.of(...outer.slice(0, half), 0, ...outer.slice(half));
};
