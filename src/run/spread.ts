import type { Histogram } from '../numerics/histogram.ts';
import { toRows, type RowView } from '../numerics/rows.ts';
import type { ActivationSpread, WeightSpread } from './report.ts';

/** Bins of every histogram in a report: enough for a shape, few enough for hundreds of layers. */
const spreadBins = 40;

type Range = readonly [number, number];

/** Counts of finite values in `spreadBins` bins of equal width over [low, high]; the last bin holds `high` too. */
export function binCounts(values: ArrayLike<number>, [low, high]: Range): number[] {
  const counts = new Array<number>(spreadBins).fill(0);
  const scale = high > low ? spreadBins / (high - low) : 0;
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!;
    if (!(v >= low && v <= high)) continue;
    const bin = Math.min(spreadBins - 1, Math.floor((v - low) * scale));
    counts[bin] = counts[bin]! + 1;
  }
  return counts;
}

/** Least and largest finite value; [0, 0] where there is none. */
function rangeOf(values: ArrayLike<number>, start = 0, end = values.length): Range {
  let [low, high] = [Infinity, -Infinity];
  for (let i = start; i < end; i++) {
    const v = values[i]!;
    if (v < low && v !== -Infinity) low = v;
    if (v > high && v !== Infinity) high = v;
  }
  return low <= high ? [low, high] : [0, 0];
}

/**
 * Float weights and what is stored for them, binned together. `view` is the matrix [outputs, K] both are; `bits` the width of a code.
 */
export function weightSpread(
  float: Float32Array,
  quantized: Float32Array | undefined,
  view: RowView | undefined,
  bits: number | undefined,
): WeightSpread {
  const own = rangeOf(float);
  const range = quantized ? rangeOf(quantized) : own;
  const both: Range = [Math.min(own[0], range[0]), Math.max(own[1], range[1])];
  const paired = quantized?.length === float.length && view !== undefined && bits !== undefined && bits <= 8;
  return {
    low: short(both[0]),
    high: short(both[1]),
    float: binCounts(float, both),
    ...(quantized ? { quantized: binCounts(quantized, both), range: [short(range[0]), short(range[1])] as const } : {}),
    ...(paired ? compareRows(toRows(float, view), toRows(quantized, view), view.columns) : {}),
  };
}

/**
 * Share of weights beyond what their row can hold by more than one step. Stored values are multiples of the row's step, so the
 * smallest of them that is not 0 is at least one:
 * rounding, which moves a value by half a step, is not taken for clipping. Where the stored values of a tenth of the rows are larger
 * or smaller as a whole by more than √2, the rows were rescaled.
 */
function compareRows(
  float: Float32Array,
  quantized: Float32Array,
  columns: number,
): Pick<WeightSpread, 'clipped' | 'rescaled'> {
  let clipped = 0;
  let [rows, other] = [0, 0];
  for (let start = 0; start < float.length; start += columns) {
    const [low, high] = rangeOf(quantized, start, start + columns);
    // A row of zeros was pruned, or has no scale: nothing is clipped there.
    if (low === high) continue;
    const step = smallest(quantized, start, start + columns);
    let [beyond, was, is] = [0, 0, 0];
    for (let i = start; i < start + columns; i++) {
      const [v, q] = [float[i]!, quantized[i]!];
      if (v > high + step || v < low - step) beyond += 1;
      if (q === 0) continue;
      was += Math.abs(v);
      is += Math.abs(q);
    }
    rows += 1;
    if (Math.abs(Math.log2(is / was)) > 0.5) other += 1;
    else clipped += beyond;
  }
  if (other > rows / 10) return { rescaled: true };
  return { clipped: short(clipped / float.length) };
}

/** The least size of what is not zero. */
function smallest(values: Float32Array, start: number, end: number): number {
  let least = Infinity;
  for (let i = start; i < end; i++) {
    const size = Math.abs(values[i]!);
    if (size > 0 && size < least) least = size;
  }
  return least;
}

/** A histogram of thousands of bins in the report's few, with the range that the quantized model has there. */
export function activationSpread(fine: Histogram, range: Range | undefined): ActivationSpread | undefined {
  const { min: low, max: high, counts, first, width, count } = fine;
  if (count === 0 || low === high) return undefined;
  const bins = new Array<number>(spreadBins).fill(0);
  let beyond = 0;
  for (const [i, n] of counts.entries()) {
    const middle = (first + i + 0.5) * width;
    const bin = Math.max(0, Math.min(spreadBins - 1, Math.floor(((middle - low) / (high - low)) * spreadBins)));
    bins[bin] = bins[bin]! + n;
    if (range && (middle < range[0] - width / 2 || middle > range[1] + width / 2)) beyond += n;
  }
  return {
    low: short(low),
    high: short(high),
    counts: bins,
    ...(range ? { range: [short(range[0]), short(range[1])] as const, clipped: short(beyond / count) } : {}),
  };
}

/** Five digits are more than a picture shows. */
function short(value: number): number {
  return Number(value.toPrecision(5));
}
