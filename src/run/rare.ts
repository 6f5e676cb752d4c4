import type { Batch, Tensor } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import { isFloat, numbersOf } from '../metrics/select.ts';
import { sealed, type Fold } from '../numerics/fold.ts';
import { collect } from '../runtime/collect.ts';
import type { Range } from './clipping.ts';

/** A range so many times as wide as what most samples hold was made by few of them. */
const wide = 4;

/** Whether a range is far wider than what some samples reach. */
export const isWide = ([low, high]: Range, [least, most]: Range): boolean => high - low > wide * (most - least);

/** The value farthest from 0 and the sample that it is in, counted from 1. */
export interface Farthest {
  readonly reach: number;
  /** Undefined where the first axis does not count samples. */
  readonly sample: number | undefined;
}

interface State {
  readonly seen: number;
  readonly at: number;
  readonly reach: number;
}

const farthest: Fold<Tensor, State, State> = {
  name: 'farthest',
  start: () => ({ seen: 0, at: 0, reach: 0 }),
  add(state, tensor) {
    if (!isFloat(tensor)) return state;
    const data = numbersOf(tensor);
    const rows = tensor.dims[0] ?? 1;
    let [index, reach] = [-1, state.reach];
    for (const [i, v] of data.entries()) if (Math.abs(v) > Math.abs(reach)) [index, reach] = [i, v];
    const at = index < 0 ? state.at : state.seen + Math.floor(index / (data.length / rows)) + 1;
    return { seen: state.seen + rows, at, reach };
  },
  finish: (state) => state,
};

/** The value of a float model that is farthest from 0 on these samples. */
export async function farthestOf(
  float: Model,
  value: string,
  { batches, samples }: { readonly batches: () => AsyncIterable<Batch>; readonly samples: number },
  signal: AbortSignal,
): Promise<Farthest | undefined> {
  const found = (await collect(float, batches, new Map([[value, [sealed(farthest)]]]), { signal })).get(value)?.[0];
  return found && { reach: found.reach, sample: found.seen === samples ? found.at : undefined };
}
