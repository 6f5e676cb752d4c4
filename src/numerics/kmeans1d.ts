import { QtoolError } from '../util/error.ts';
import { checkFinite } from './finite.ts';

const { max, min } = Math;

export interface Codebook {
  /** Rising. `k` entries, fewer only if there are fewer distinct values. */
  readonly centroids: Float32Array;
  /** Index of the nearest centroid of each value. */
  readonly codes: Uint8Array;
  /** Σ (value − centroid)². */
  readonly error: number;
}

export interface KmeansOptions {
  /**
   * Where Lloyd's iteration begins: `density` places centroids as densely as the cube root of the values' density, which is best
   * for many centroids (P. Panter, W. Dite 1951); `linear` evenly between the extremes, which keeps large weights apart (S. Han et
   * al., Deep Compression, arXiv 1510.00149) at about 1 dB more error.
   */
  readonly init?: 'density' | 'linear' | undefined;
  /** Lloyd iterations at most; it stops when no boundary moves. */
  readonly iterations?: number | undefined;
  /** Holds one centroid at exactly 0 for the values that are 0, so that pruned weights stay zero. */
  readonly keepZero?: boolean | undefined;
  readonly at?: string | undefined;
}

/**
 * k-means of numbers by Lloyd's iteration. On sorted values a cluster is an interval and its sum a difference of prefix sums, so
 * an iteration costs k·log n. A local optimum, within some per cent of the best (`optimalKmeans`).
 *
 * @throws QtoolError `schedule` unless k is an integer from 1 to 256; `data` if a value is NaN or infinite.
 */
export function kmeans(data: Float32Array, k: number, options: KmeansOptions = {}): Codebook {
  const { init = 'density', iterations = 300, keepZero = false, at } = options;
  check(data, k, at);
  const values = keepZero ? data.filter((v) => v !== 0) : data;
  const zeros = data.length - values.length;
  const free = zeros > 0 ? k - 1 : k;
  const sums = sortedSums(values);
  const n = values.length;
  let centroids: Float64Array = new Float64Array(0);
  if (n > 0 && free > 0) {
    centroids = init === 'linear' ? evenly(sums.sorted, free) : byDensity(sums.sorted, free);
    let cuts: Int32Array = new Int32Array(0);
    for (let round = 0; round < iterations; round++) {
      const next = boundaries(sums.sorted, centroids);
      if (round > 0 && next.every((c, i) => c === cuts[i])) break;
      cuts = next;
      // A cluster without values stays where it is.
      centroids = centroids.map((c, i) => mean(sums, cuts[i] as number, cuts[i + 1] as number) ?? c);
    }
  }
  return assign(data, withZero(centroids, zeros > 0), keepZero);
}

/**
 * The best k-means clustering there is: dynamic programming over the sorted values, each of k rows filled by divide and
 * conquer, as the best cut never moves left when the end moves right. k·n·log n steps; meant for up to some ten thousand values.
 */
export function optimalKmeans(
  data: Float32Array,
  k: number,
  options: Omit<KmeansOptions, 'iterations'> = {},
): Codebook {
  const { keepZero = false, at } = options;
  check(data, k, at);
  const values = keepZero ? data.filter((v) => v !== 0) : data;
  const zeros = data.length - values.length;
  const free = zeros > 0 ? k - 1 : k;
  const sums = sortedSums(values);
  const n = values.length;
  const rows = min(free, n);
  let previous = Float64Array.from({ length: n + 1 }, (_, j) => cost(sums, 0, j));
  const cuts: Int32Array[] = [];
  for (let row = 1; row < rows; row++) {
    const current = new Float64Array(n + 1);
    const cut = new Int32Array(n + 1);
    fillRow(sums, previous, current, cut, row, n, row, n);
    cuts.push(cut);
    previous = current;
  }
  const centroids = new Float64Array(rows);
  for (let row = rows - 1, end = n; row >= 0; row--) {
    const start = row === 0 ? 0 : ((cuts[row - 1] as Int32Array)[end] as number);
    centroids[row] = mean(sums, start, end) ?? 0;
    end = start;
  }
  return assign(data, withZero(centroids, zeros > 0), keepZero);
}

function evenly(sorted: Float32Array, k: number): Float64Array<ArrayBuffer> {
  const lo = sorted[0] as number;
  const hi = sorted[sorted.length - 1] as number;
  return Float64Array.from({ length: k }, (_, i) => (k === 1 ? (lo + hi) / 2 : lo + ((hi - lo) * i) / (k - 1)));
}

/** Centroids that divide ∫ density^⅓ evenly, by a histogram of the values. */
function byDensity(sorted: Float32Array, k: number): Float64Array<ArrayBuffer> {
  const lo = sorted[0] as number;
  const width = ((sorted[sorted.length - 1] as number) - lo) / 512;
  if (width === 0) return evenly(sorted, k);
  const counts = new Float64Array(512);
  for (const v of sorted) {
    const b = min(511, Math.floor((v - lo) / width));
    counts[b] = (counts[b] as number) + 1;
  }
  const roots = counts.map(Math.cbrt);
  const total = roots.reduce((a, b) => a + b, 0);
  let below = 0;
  let b = 0;
  return Float64Array.from({ length: k }, (_, i) => {
    const target = (total * (i + 0.5)) / k;
    while (b < 511 && below + (roots[b] as number) < target) below += roots[b++] as number;
    return lo + width * (b + (target - below) / (roots[b] as number));
  });
}

interface SortedSums {
  readonly sorted: Float32Array;
  readonly sum: Float64Array;
  readonly square: Float64Array;
}

function sortedSums(values: Float32Array): SortedSums {
  const sorted = values.slice().sort();
  const sum = new Float64Array(sorted.length + 1);
  const square = new Float64Array(sorted.length + 1);
  for (let i = 0; i < sorted.length; i++) {
    const v = sorted[i] as number;
    sum[i + 1] = (sum[i] as number) + v;
    square[i + 1] = (square[i] as number) + v * v;
  }
  return { sorted, sum, square };
}

function mean({ sum }: SortedSums, start: number, end: number): number | undefined {
  return start < end ? ((sum[end] as number) - (sum[start] as number)) / (end - start) : undefined;
}

/** Σ (v − mean)² of sorted values start … end−1. */
function cost({ sum, square }: SortedSums, start: number, end: number): number {
  if (start >= end) return 0;
  const s = (sum[end] as number) - (sum[start] as number);
  return max(0, (square[end] as number) - (square[start] as number) - (s * s) / (end - start));
}

/** Where each centroid's interval begins in the sorted values, and n at the end; the midpoint of two centroids divides them. */
function boundaries(sorted: Float32Array, centroids: Float64Array): Int32Array {
  const k = centroids.length;
  const out = new Int32Array(k + 1);
  out[k] = sorted.length;
  for (let i = 1; i < k; i++) {
    const middle = ((centroids[i - 1] as number) + (centroids[i] as number)) / 2;
    let lo = out[i - 1] as number;
    let hi = sorted.length;
    while (lo < hi) {
      const m = (lo + hi) >> 1;
      if ((sorted[m] as number) <= middle) lo = m + 1;
      else hi = m;
    }
    out[i] = lo;
  }
  return out;
}

/** current[j] = min over i of previous[i] + cost(i, j), for j in [from, to], the best i lying in [lo, hi]. */
function fillRow(
  sums: SortedSums,
  previous: Float64Array,
  current: Float64Array,
  cut: Int32Array,
  from: number,
  to: number,
  lo: number,
  hi: number,
): void {
  if (from > to) return;
  const j = (from + to) >> 1;
  let best = lo;
  let smallest = Infinity;
  for (let i = lo, last = min(hi, j); i <= last; i++) {
    const c = (previous[i] as number) + cost(sums, i, j);
    if (c < smallest) {
      smallest = c;
      best = i;
    }
  }
  current[j] = smallest;
  cut[j] = best;
  fillRow(sums, previous, current, cut, from, j - 1, lo, best);
  fillRow(sums, previous, current, cut, j + 1, to, best, hi);
}

function withZero(centroids: Float64Array, zero: boolean): Float32Array {
  return Float32Array.from(zero ? [...centroids, 0] : centroids).sort();
}

function assign(data: Float32Array, centroids: Float32Array, keepZero: boolean): Codebook {
  const codes = new Uint8Array(data.length);
  const zero = keepZero ? centroids.indexOf(0) : -1;
  let error = 0;
  for (let i = 0; i < data.length; i++) {
    const v = data[i] as number;
    let lo = 0;
    let hi = centroids.length - 1;
    // The first centroid whose upper boundary is not below v.
    while (lo < hi) {
      const m = (lo + hi) >> 1;
      if (v > ((centroids[m] as number) + (centroids[m + 1] as number)) / 2) lo = m + 1;
      else hi = m;
    }
    if (v === 0 && zero >= 0) lo = zero;
    codes[i] = lo;
    error += (v - (centroids[lo] as number)) ** 2;
  }
  return { centroids, codes, error };
}

function check(data: Float32Array, k: number, at: string | undefined): void {
  if (!Number.isInteger(k) || k < 1 || k > 256) {
    throw new QtoolError('schedule', `a codebook has 1 to 256 entries, not ${k}`, { at });
  }
  checkFinite(data, at);
}
