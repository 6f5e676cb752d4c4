import type { Fold } from './fold.ts';
import { extremes } from './minmax.ts';
import type { Range } from './range.ts';
import { floatsOf, type Values } from './values.ts';

export interface AverageMinMaxState {
  count: number;
  sumMin: number;
  sumMax: number;
}

/**
 * Mean of the minima and mean of the maxima of the samples (axis 0), or of the batches: Distiller's `clip_acts: AVG`, which
 * averages over samples. Scalars and empty tensors: a scalar is one sample, an empty tensor none.
 */
export function averageMinmax(
  { per = 'sample' }: { readonly per?: 'sample' | 'batch' | undefined } = {},
  at?: string,
): Fold<Values, AverageMinMaxState, Range> {
  return {
    name: 'average_minmax',
    reads: 'extremes',
    start: () => ({ count: 0, sumMin: 0, sumMax: 0 }),
    add: (state, values) => {
      const data = floatsOf(values, at);
      if (data.length === 0) return state;
      const parts = per === 'sample' ? (values.dims[0] ?? 1) : 1;
      const size = data.length / parts;
      for (let i = 0; i < parts; i++) {
        const part = { min: Infinity, max: -Infinity };
        extremes(data, i * size, (i + 1) * size, part, at);
        state.sumMin += part.min;
        state.sumMax += part.max;
      }
      state.count += parts;
      return state;
    },
    finish: ({ count, sumMin, sumMax }) =>
      count === 0 ? { min: 0, max: 0 } : { min: sumMin / count, max: sumMax / count },
  };
}
