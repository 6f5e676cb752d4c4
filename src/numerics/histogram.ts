import { QtoolError } from '../util/error.ts';
import type { Fold } from './fold.ts';
import { extremes } from './minmax.ts';
import { floatsOf, type Values } from './values.ts';

const { abs, floor, log2, max, min } = Math;

/**
 * A finished histogram. Bin i holds the values in [(first + i)·width, (first + i + 1)·width). `width` is a power of two, so the
 * edges are exact and 0 is one of them. `min`, `max` and the sums are exact, not from the bins.
 */
export interface Histogram {
  readonly width: number;
  readonly first: number;
  readonly counts: Float64Array;
  readonly count: number;
  readonly min: number;
  readonly max: number;
  readonly sum: number;
  readonly sumSquares: number;
  /** Σ |x|. */
  readonly sumAbs: number;
}

/** Bytes of state: 4 a bin. Plain data; `exponent` is log2 of the bin width, `first` the index of bin 0 counted from 0. */
export interface HistogramState {
  exponent: number;
  first: number;
  counts: Uint32Array<ArrayBuffer>;
  /** Counts moved out of `counts` before one could overflow; `pending` values are still in it. */
  spilled: Float64Array | undefined;
  pending: number;
  count: number;
  min: number;
  max: number;
  sum: number;
  sumSquares: number;
  sumAbs: number;
}

const mostPending = 2 ** 32 - 1;
const smallestExponent = -149; // of a float32

/**
 * One-pass histogram of a range that is not known beforehand. Bin widths are powers of two and bin edges multiples of the
 * width: when a value falls outside, the width doubles until all fits, and each new bin is exactly the sum of two old ones. The
 * result therefore does not depend on the order of the data or on how it was cut into batches, and equals that of a run which
 * had known the range. Between `num_bins` and twice as many bins lie between the smallest and the largest value (fewer only for
 * data that float32 cannot tell apart). Memory: 8·num_bins bytes, whatever the number of values.
 *
 * @param at names the tensor in errors. @throws QtoolError `schedule` if num_bins is not an integer from 2 to 2^20.
 */
export function histogram(
  { num_bins: bins = 2048 }: { readonly num_bins?: number | undefined } = {},
  at?: string,
): Fold<Values, HistogramState, Histogram> {
  if (!Number.isInteger(bins) || bins < 2 || bins > 2 ** 20) {
    throw new QtoolError('schedule', `num_bins is an integer from 2 to ${2 ** 20}, not ${bins}`, { at });
  }
  return {
    name: 'histogram',
    reads: 'elements',
    start: () => ({
      exponent: smallestExponent,
      first: 0,
      counts: new Uint32Array(2 * bins),
      spilled: undefined,
      pending: 0,
      count: 0,
      min: Infinity,
      max: -Infinity,
      sum: 0,
      sumSquares: 0,
      sumAbs: 0,
    }),
    add: (state, values) => {
      const data = floatsOf(values, at);
      // A piece is small enough to stay in the second-level cache and to leave the overflow guard room.
      for (let start = 0; start < data.length; start += pieceSize) {
        addPiece(state, data, start, min(data.length, start + pieceSize), at);
      }
      return state;
    },
    finish,
  };
}

const pieceSize = 2 ** 18;

function addPiece(state: HistogramState, data: Float32Array, start: number, end: number, at?: string): void {
  if (state.pending + (end - start) > mostPending) spill(state);
  let i = tally(state, data, start, end);
  if (i < end) {
    // Looking through the whole rest at once makes this happen once a piece at most.
    widen(state, data, i, end, at);
    i = tally(state, data, i, end);
    for (; i < end; i++) state.counts[floor(data[i]! * 2 ** -state.exponent) - state.first]!++;
  }
  state.count += end - start;
  state.pending += end - start;
  sumUp(state, data, start, end);
}

/**
 * Counts data[start..end) as far as the values lie between the extremes met so far; gives where it stopped: before four values of
 * which one lies outside or is NaN, or with fewer than four left.
 */
function tally(
  { counts, min: lo, max: hi, first, exponent }: HistogramState,
  data: Float32Array,
  start: number,
  end: number,
): number {
  const inverse = 2 ** -exponent;
  let i = start;
  // Four at a time: the loop is bound by the latency of rounding and store, and four of each overlap.
  for (const last = end - 3; i < last; i += 4) {
    const a = data[i]!;
    const b = data[i + 1]!;
    const c = data[i + 2]!;
    const d = data[i + 3]!;
    if (!(a >= lo && a <= hi && b >= lo && b <= hi && c >= lo && c <= hi && d >= lo && d <= hi)) break;
    counts[(floor(a * inverse) | 0) - first]!++;
    counts[(floor(b * inverse) | 0) - first]!++;
    counts[(floor(c * inverse) | 0) - first]!++;
    counts[(floor(d * inverse) | 0) - first]!++;
  }
  return i;
}

/** A loop of its own: together with the counts it has too many values for the registers and takes twice as long. */
function sumUp(state: HistogramState, data: Float32Array, start: number, end: number): void {
  let sum = 0;
  let squares = 0;
  let absolute = 0;
  for (let i = start; i < end; i++) {
    const v = data[i]!;
    sum += v;
    squares += v * v;
    absolute += abs(v);
  }
  state.sum += sum;
  state.sumSquares += squares;
  state.sumAbs += absolute;
}

function widen(state: HistogramState, data: Float32Array, start: number, end: number, at?: string): void {
  const wanted = { min: state.min, max: state.max };
  extremes(data, start, end, wanted, at);
  fit(state, wanted.min, wanted.max);
}

/** Lets the bins cover [lo, hi], with the smallest width that does so, and notes the new extremes. */
function fit(state: HistogramState, lo: number, hi: number): void {
  const size = state.counts.length;
  state.min = lo;
  state.max = hi;
  const largest = max(-lo, hi);
  // Bin numbers stay below 2^24, where v / width is exact; a float32 has no more digits to tell values apart anyway.
  let exponent = max(state.exponent, largest === 0 ? smallestExponent : floor(log2(largest)) - 22);
  while (floor(hi * 2 ** -exponent) - floor(lo * 2 ** -exponent) >= size) exponent++;
  const low = floor(lo * 2 ** -exponent);
  const high = floor(hi * 2 ** -exponent);
  if (exponent === state.exponent && low >= state.first && high < state.first + size) return;
  const first = low - ((size - 1 - (high - low)) >> 1);
  const shift = exponent - state.exponent;
  state.counts.set(regrid(state.counts, state.first, shift, first));
  if (state.spilled !== undefined) state.spilled.set(regrid(state.spilled, state.first, shift, first));
  state.exponent = exponent;
  state.first = first;
}

/** The same counts in bins 2^shift times as wide, beginning with number `to`. */
function regrid<T extends Uint32Array | Float64Array>(counts: T, from: number, shift: number, to: number): T {
  const out = counts.slice().fill(0) as T;
  const divisor = 2 ** shift;
  for (let i = 0; i < counts.length; i++) {
    const n = counts[i]!;
    if (n === 0) continue;
    const k = floor((i + from) / divisor) - to;
    out[k]! += n;
  }
  return out;
}

/** Moves the counts to doubles, exact up to 2^53. */
function spill(state: HistogramState): void {
  const into = (state.spilled ??= new Float64Array(state.counts.length));
  state.counts.forEach((n, i) => (into[i] = into[i]! + n));
  state.counts.fill(0);
  state.pending = 0;
}

function finish(state: HistogramState): Histogram {
  const { count, sum, sumSquares, sumAbs } = state;
  const width = 2 ** state.exponent;
  if (count === 0) {
    return { width, first: 0, counts: new Float64Array(1), count, min: 0, max: 0, sum, sumSquares, sumAbs };
  }
  const first = floor(state.min / width) + 0; // not −0
  const last = floor(state.max / width);
  const counts = new Float64Array(last - first + 1);
  for (let k = first; k <= last; k++) {
    const i = k - state.first;
    counts[k - first] = state.counts[i]! + (state.spilled?.[i] ?? 0);
  }
  return { width, first, counts, count, min: state.min + 0, max: state.max + 0, sum, sumSquares, sumAbs };
}
