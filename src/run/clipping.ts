import type { Batch, Tensor } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import { isFloat, numbersOf } from '../metrics/select.ts';
import type { Fold } from '../numerics/fold.ts';
import { sealed } from '../numerics/fold.ts';
import { collect } from '../runtime/collect.ts';

export type Range = readonly [low: number, high: number];

/** What a range cuts off of a value. */
export interface Clipped {
  /** Values that were seen, and how many of them lie outside. */
  readonly count: number;
  readonly beyond: number;
  /** The smallest and the largest. */
  readonly reach: Range;
  /** Σ of the squares of what was cut off, in the value's unit squared. */
  readonly noise: number;
}

/** How much of a float model's value lies outside of a range. */
export async function clippedBy(
  range: Range,
  float: Model,
  value: string,
  batches: () => AsyncIterable<Batch>,
  signal: AbortSignal,
): Promise<Clipped | undefined> {
  const found = await collect(float, batches, new Map([[value, [sealed(clipping(range))]]]), { signal });
  return found.get(value)?.[0];
}

/** Whether a range loses more by what it cuts off than by rounding to 8 bits, whose error is a step²/12 a value. */
export function cutsMore([low, high]: Range, { count, noise }: Clipped): boolean {
  return noise > (count * ((high - low) / 255) ** 2) / 12;
}

/** Numbers of a tensor that lie outside of a range. */
function clippedIn(tensor: Tensor, [low, high]: Range): Clipped {
  const data = numbersOf(tensor);
  let [beyond, noise, least, most] = [0, 0, Infinity, -Infinity];
  for (const v of data) {
    least = Math.min(least, v);
    most = Math.max(most, v);
    const off = v < low ? low - v : v > high ? v - high : 0;
    if (off > 0) beyond++;
    noise += off * off;
  }
  return { count: data.length, beyond, reach: [least, most], noise };
}

function added(a: Clipped, b: Clipped): Clipped {
  return {
    count: a.count + b.count,
    beyond: a.beyond + b.beyond,
    reach: [Math.min(a.reach[0], b.reach[0]), Math.max(a.reach[1], b.reach[1])],
    noise: a.noise + b.noise,
  };
}

const clipping = (range: Range): Fold<Tensor, Clipped, Clipped> => ({
  name: 'clipping',
  start: () => ({ count: 0, beyond: 0, reach: [Infinity, -Infinity], noise: 0 }),
  add: (state, tensor) => (isFloat(tensor) ? added(state, clippedIn(tensor, range)) : state),
  finish: (state) => state,
});
