import { uniform } from '../util/uniform.ts';
import { distinctLevels } from './grid.ts';

const { floor, max, min } = Math;

/** Where the centres begin; `exact` is the least error there is, by dynamic programming. */
export const kMeansStarts = {
  linear: 'evenly from the least to the largest value (best in Deep Compression)',
  density: 'at equal shares of the values',
  random: 'at values drawn by chance',
  exact: 'where they are best of all',
} as const;
export type KMeansStart = keyof typeof kMeansStarts;

/** Values looked at: the centres that are best for them are as good as the best for all; fewer for `exact`, which takes longer. */
const mostValues = { usual: 2 ** 18, exact: 2 ** 13 };
const mostSteps = 300;

/** Sorted values and running sums of importance w, w·v and w·v². */
interface Sums {
  readonly v: Float32Array;
  readonly w: Float64Array;
  readonly wv: Float64Array;
  readonly wvv: Float64Array;
}

/**
 * At most k centres, rising, of little Σ importance·(v − nearest centre)²: Lloyd's steps on sorted values, where a cluster is a stretch and its mean is two
 * look-ups. An empty cluster goes to the worst value of the cluster that costs most. If some values are exactly 0, 0 is a centre and stays: pruned weights
 * stay pruned.
 */
export function kMeans(
  values: Float32Array,
  k: number,
  o: { readonly start: KMeansStart; readonly seed: number; readonly importance?: ArrayLike<number> | undefined },
): Float32Array {
  const few = distinctUpTo(values, k);
  if (few) return few;
  const hasZero = values.includes(0);
  const sums = sorted(values, o.importance, o.start === 'exact' ? mostValues.exact : mostValues.usual);
  const free = k - (hasZero ? 1 : 0);
  if (free === 0) return Float32Array.of(0);
  const begin = startOf(sums, free, o.start, uniform(o.seed));
  return lloyd(sums, hasZero ? [...begin, 0] : begin, hasZero);
}

/** The values themselves where there are no more than k. */
function distinctUpTo(values: Float32Array, k: number): Float32Array | undefined {
  const seen = new Set<number>();
  for (let i = 0; i < values.length; i++) if (seen.add(values[i]! + 0).size > k) return undefined;
  return Float32Array.from(seen).sort();
}

/** All but zeros, thinned out evenly to `most`, in order. (Zeros cost nothing: where there are any, 0 is a centre.) */
function sorted(all: Float32Array, importance: ArrayLike<number> | undefined, most: number): Sums {
  const every = max(1, Math.ceil(all.length / most));
  const at: number[] = [];
  for (let i = 0; i < all.length; i += every) if (all[i] !== 0) at.push(i);
  const weigh = importance !== undefined && at.some((i) => importance[i]! > 0);
  let v: Float32Array;
  if (weigh)
    v = Float32Array.from(
      at.sort((a, b) => all[a]! - all[b]!),
      (i) => all[i]!,
    );
  else v = Float32Array.from(at, (i) => all[i]!).sort();
  const [w, wv, wvv] = [0, 1, 2].map(() => new Float64Array(v.length + 1)) as [
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  for (let i = 0; i < v.length; i++) {
    const one = weigh ? importance[at[i]!]! : 1;
    w[i + 1] = w[i]! + one;
    wv[i + 1] = wv[i]! + one * v[i]!;
    wvv[i + 1] = wvv[i]! + one * v[i]! * v[i]!;
  }
  return { v, w, wv, wvv };
}

function startOf(sums: Sums, k: number, start: KMeansStart, next: () => number): number[] {
  const { v } = sums;
  const [least, most] = [v[0]!, v.at(-1)!];
  const at = (share: number): number => v[min(v.length - 1, floor(share * v.length))]!;
  if (start === 'exact') return exactCentres(sums, k);
  return Array.from({ length: k }, (_, i) => {
    if (start === 'density') return at((i + 0.5) / k);
    if (start === 'random') return at(next());
    return k === 1 ? (least + most) / 2 : least + (i / (k - 1)) * (most - least);
  });
}

/** Lloyd's steps until nothing moves. @param fixed whether the centre 0 stays. */
function lloyd(sums: Sums, begin: readonly number[], fixed: boolean): Float32Array {
  let centres = Float64Array.from(begin).sort();
  let best: Float64Array = centres;
  let least = Infinity;
  for (let step = 0; step < mostSteps; step++) {
    const ends = stretches(sums.v, centres);
    const next = centres.map((c, j) => (fixed && c === 0 ? 0 : meanOf(sums, ends[j]!, ends[j + 1]!, c)));
    refill(sums, next, ends, fixed);
    const error = next.reduce((sum, c, j) => sum + costAt(sums, ends[j]!, ends[j + 1]!, c), 0);
    const still = next.every((c, j) => c === centres[j]);
    centres = next.sort();
    if (error < least) [least, best] = [error, centres];
    if (still) break;
  }
  return distinctLevels(best);
}

/** Where the values of each centre begin in the order; the last entry is their number. */
function stretches(v: Float32Array, centres: Float64Array): Int32Array {
  const ends = new Int32Array(centres.length + 1);
  ends[centres.length] = v.length;
  for (let j = 1; j < centres.length; j++) {
    const middle = (centres[j - 1]! + centres[j]!) / 2;
    let [low, high] = [ends[j - 1]!, v.length];
    while (low < high) {
      const m = (low + high) >> 1;
      if (v[m]! < middle) low = m + 1;
      else high = m;
    }
    ends[j] = low;
  }
  return ends;
}

const meanOf = ({ w, wv }: Sums, i: number, j: number, otherwise: number): number => {
  const weight = w[j]! - w[i]!;
  return weight > 0 ? (wv[j]! - wv[i]!) / weight : otherwise;
};

/** Σ w·(v − c)² of values i … j − 1. */
const costAt = ({ w, wv, wvv }: Sums, i: number, j: number, c: number): number =>
  wvv[j]! - wvv[i]! - 2 * c * (wv[j]! - wv[i]!) + c * c * (w[j]! - w[i]!);

/** Centres without values go, one each, to the farther end of the clusters that cost most. */
function refill(sums: Sums, centres: Float64Array, ends: Int32Array, fixed: boolean): void {
  const empty = [...centres.keys()].filter((j) => ends[j] === ends[j + 1] && !(fixed && centres[j] === 0));
  if (empty.length === 0) return;
  const costly = [...centres.keys()]
    .filter((j) => ends[j + 1]! > ends[j]! && sums.v[ends[j]!] !== sums.v[ends[j + 1]! - 1])
    .map((j) => ({ j, cost: costAt(sums, ends[j]!, ends[j + 1]!, centres[j]!) }))
    .sort((a, b) => b.cost - a.cost);
  for (const [n, j] of empty.entries()) {
    const from = costly[n]?.j;
    if (from === undefined) return;
    const [low, high] = [sums.v[ends[from]!]!, sums.v[ends[from + 1]! - 1]!];
    centres[j] = centres[from]! - low > high - centres[from]! ? low : high;
  }
}

/**
 * The k centres of least error (Wang and Song 2011, Ckmeans.1d.dp): the best end of the stretch before, for every end, by divide and conquer, since it never
 * falls as the end rises. O(k·n·log n).
 */
function exactCentres(sums: Sums, k: number): number[] {
  const n = sums.v.length;
  const cost = (i: number, j: number): number => costAt(sums, i, j, meanOf(sums, i, j, 0));
  let before = Float64Array.from({ length: n + 1 }, (_, j) => cost(0, j));
  const cuts: Int32Array[] = [];
  for (let c = 2; c <= min(k, n); c++) {
    const now = new Float64Array(n + 1).fill(Infinity);
    const cut = new Int32Array(n + 1);
    const fill = (lo: number, hi: number, from: number, to: number): void => {
      if (lo > hi) return;
      const j = (lo + hi) >> 1;
      for (let i = from; i <= min(to, j - 1); i++) {
        const error = before[i]! + cost(i, j);
        if (error < now[j]!) [now[j], cut[j]] = [error, i];
      }
      fill(lo, j - 1, from, cut[j]!);
      fill(j + 1, hi, cut[j]!, to);
    };
    fill(c, n, c - 1, n - 1);
    cuts.push(cut);
    before = now;
  }
  const centres: number[] = [];
  let end = n;
  for (const cut of cuts.reverse()) {
    centres.push(meanOf(sums, cut[end]!, end, 0));
    end = cut[end]!;
  }
  return [...centres, meanOf(sums, 0, end, 0)];
}
