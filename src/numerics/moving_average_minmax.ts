import { QtoolError } from '../util/error.ts';
import type { Fold } from './fold.ts';
import { extremes } from './minmax.ts';
import type { Range } from './range.ts';
import { floatsOf, type Values } from './values.ts';

export interface MovingAverageState {
  batches: number;
  min: number;
  max: number;
}

/**
 * Exponential moving average of each batch's minimum and maximum: m ← m + c·(batch − m), starting at the first batch; c is
 * onnxruntime's `averaging_constant` (0.01), one minus the usual momentum (PyTorch's MovingAverageMinMaxObserver has the same
 * rule). Empty batches do not count.
 *
 * @throws QtoolError `schedule` if c is not within 0 to 1.
 */
export function movingAverageMinmax(
  { averaging_constant: c = 0.01 }: { readonly averaging_constant?: number | undefined } = {},
  at?: string,
): Fold<Values, MovingAverageState, Range> {
  if (!(c >= 0 && c <= 1)) throw new QtoolError('schedule', `averaging_constant is 0 to 1, not ${c}`, { at });
  return {
    name: 'moving_average_minmax',
    reads: 'extremes',
    start: () => ({ batches: 0, min: 0, max: 0 }),
    add: (state, values) => {
      const data = floatsOf(values, at);
      if (data.length === 0) return state;
      const batch = { min: Infinity, max: -Infinity };
      extremes(data, 0, data.length, batch, at);
      if (state.batches === 0) return { batches: 1, ...batch };
      state.min += c * (batch.min - state.min);
      state.max += c * (batch.max - state.max);
      state.batches++;
      return state;
    },
    finish: ({ min, max }) => ({ min, max }),
  };
}
