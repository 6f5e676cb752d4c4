import { QtoolError } from '../util/error.ts';
import type { Histogram } from './histogram.ts';
import { absoluteCounts, within } from './histogram_parts.ts';
import type { Range } from './range.ts';

/**
 * The range that keeps `percentile` per cent of the values. Symmetric: ± that percentile of |x|. Otherwise half of the rest is
 * cut off at either end (onnxruntime's calibration method Percentile and its option names; its default is 99.999). Within a bin
 * values are taken as evenly spread, so the error is below one bin: 1/2048 of the value range.
 *
 * @throws QtoolError `schedule` if percentile is not above 0 and at most 100.
 */
export function percentileRange(
  h: Histogram,
  {
    percentile = 99.999,
    symmetric = false,
  }: { readonly percentile?: number | undefined; readonly symmetric?: boolean | undefined } = {},
): Range {
  if (!(percentile > 0 && percentile <= 100)) {
    throw new QtoolError('schedule', `percentile is above 0 and at most 100, not ${percentile}`);
  }
  if (h.count === 0) return { min: 0, max: 0 };
  if (symmetric) {
    const { counts, width } = absoluteCounts(h);
    const t = quantile(counts, (percentile / 100) * h.count) * width;
    return within({ min: -t, max: t }, h);
  }
  const cut = ((100 - percentile) / 200) * h.count;
  const value = (rank: number): number => (h.first + quantile(h.counts, rank)) * h.width;
  return within({ min: value(cut), max: value(h.count - cut) }, h);
}

/** The position, in bins from the left, below which `rank` values lie. */
function quantile(counts: Float64Array, rank: number): number {
  let below = 0;
  for (let i = 0; i < counts.length; i++) {
    const c = counts[i]!;
    if (below + c >= rank && c > 0) return i + (rank - below) / c;
    below += c;
  }
  return counts.length;
}
