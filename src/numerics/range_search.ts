import type { AffineFormat } from './affine.ts';
import type { Histogram } from './histogram.ts';
import { largest, within } from './histogram_parts.ts';
import type { Range } from './range.ts';
import { narrowed } from './special.ts';

const { abs, min } = Math;

/** Cost of a clip range. May give any value above `bound` as soon as it knows that the cost is above. */
export type RangeCost = (lo: number, hi: number, bound: number) => number;

const ratio = 0.94;
const gridSize = 64; // down to 0.94^63 = 2 % of the largest value

/**
 * The clip range of least cost. Symmetric formats and values of one sign have one end to search: a geometric grid from the
 * largest value down to 2 % of it, then a golden-section search around the best point. Otherwise both ends: a coarse grid over
 * pairs, then one end at a time until neither moves. The cost is nearly, not strictly, unimodal (zero points jump by whole
 * codes), so the best range met is what counts. `start`, where known, spares the grid over pairs.
 */
export function searchRange(h: Histogram, format: AffineFormat, cost: RangeCost, start?: Range): Range {
  if (h.count === 0) return { min: 0, max: 0 };
  const top = largest(h);
  if (top === 0 || h.min === h.max) return { min: h.min, max: h.max };
  if (format.symmetric) {
    const t = searchEnd(top, (x, bound) => cost(h.min >= 0 ? 0 : -x, h.max <= 0 ? 0 : x, bound));
    return within({ min: -t, max: t }, h);
  }
  if (h.min >= 0) return within({ min: h.min, max: searchEnd(h.max, (x, bound) => cost(0, x, bound)) }, h);
  if (h.max <= 0) return { min: min(h.max, -searchEnd(-h.min, (x, bound) => cost(-x, 0, bound))), max: h.max };
  return searchBoth(h, cost, start);
}

/** The x in (0, top] of least cost. */
function searchEnd(
  top: number,
  cost: (x: number, bound: number) => number,
  from = top,
  points = gridSize,
  steps = 18,
): number {
  let best = from;
  let smallest = cost(from, Infinity);
  const visit = (x: number, value: number): void => {
    if (value < smallest) [smallest, best] = [value, x];
  };
  for (let i = 1, x = from; i < points; i++) {
    x *= ratio;
    visit(x, cost(x, smallest));
  }
  // Each step narrows the bracket by 0.62: 18 leave 2·10⁻⁵ of it, far below a bin.
  narrowed(
    (x) => cost(x, Infinity),
    [best * ratio, min(top, best / ratio)],
    (_lo, _hi, step) => step < steps,
    visit,
  );
  return best;
}

function searchBoth(h: Histogram, cost: RangeCost, start?: Range): Range {
  let low = start?.min ?? h.min;
  let high = start?.max ?? h.max;
  let smallest = cost(low, high, Infinity);
  for (let i = start === undefined ? 0 : 14, x = 1; i < 14; i++, x *= 0.78) {
    for (let j = 0, y = 1; j < 14; j++, y *= 0.78) {
      const c = cost(h.min * x, h.max * y, smallest);
      if (c < smallest) [smallest, low, high] = [c, h.min * x, h.max * y];
    }
  }
  for (let round = 0; round < 3; round++) {
    const [oldLow, oldHigh] = [low, high];
    const fixedHigh = high;
    const newLow = -searchEnd(-h.min, (x, b) => cost(-x, fixedHigh, b), min(-h.min, -low * 1.3), 10, 10);
    const cLow = cost(newLow, high, Infinity);
    if (cLow < smallest) [smallest, low] = [cLow, newLow];
    const fixedLow = low;
    const newHigh = searchEnd(h.max, (x, b) => cost(fixedLow, x, b), min(h.max, high * 1.3), 10, 10);
    const cHigh = cost(low, newHigh, Infinity);
    if (cHigh < smallest) [smallest, high] = [cHigh, newHigh];
    if (abs(low - oldLow) < 1e-3 * abs(oldLow) && abs(high - oldHigh) < 1e-3 * oldHigh) break;
  }
  return { min: low, max: high };
}
