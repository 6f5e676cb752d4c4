import type { Fold } from './fold.ts';
import { throwNotFinite } from './finite.ts';
import type { Range } from './range.ts';
import { floatsOf, type Values } from './values.ts';

export interface MinMaxState {
  min: number;
  max: number;
}

/**
 * Smallest and largest value seen, exactly (calibration method `minmax` of onnxruntime and TensorFlow). 0 to 0 if nothing was
 * seen. `at` names the tensor in errors: NaN or infinity is one, as a clip range from it would be meaningless.
 */
export function minmax(at?: string): Fold<Values, MinMaxState, Range> {
  return {
    name: 'minmax',
    reads: 'extremes',
    start: () => ({ min: Infinity, max: -Infinity }),
    add: (state, values) => {
      const data = floatsOf(values, at);
      extremes(data, 0, data.length, state, at);
      return state;
    },
    finish: ({ min, max }) => (min > max ? { min: 0, max: 0 } : { min, max }),
  };
}

/** The smallest and the largest of some values and 0. */
export function rangeWithZero(values: Float32Array): readonly [number, number] {
  let lo = 0;
  let hi = 0;
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!;
    if (v < lo) lo = v;
    if (v > hi) hi = v;
  }
  return [lo, hi];
}

/**
 * Widens `state` to hold data[start..end). Only a value outside the range met so far leaves the fast path, which is one test
 * per end and element; NaN fails both tests and is found on the slow path.
 *
 * @throws QtoolError `data` naming `at` if a value is NaN or infinite.
 */
export function extremes(data: Float32Array, start: number, end: number, state: MinMaxState, at?: string): void {
  let lo = state.min;
  let hi = state.max;
  let i = start;
  for (const last = end - 3; i < last; i += 4) {
    const a = data[i]!;
    const b = data[i + 1]!;
    const c = data[i + 2]!;
    const d = data[i + 3]!;
    if (!(a >= lo && a <= hi && b >= lo && b <= hi && c >= lo && c <= hi && d >= lo && d <= hi)) {
      for (let j = i; j < i + 4; j++) {
        const v = data[j]!;
        if (v < lo) lo = v;
        if (!(v <= hi)) hi = v;
        // v − v is NaN for NaN and ±∞ alone.
        if (v - v !== 0) throwNotFinite(data, at);
      }
    }
  }
  for (; i < end; i++) {
    const v = data[i]!;
    if (v < lo) lo = v;
    if (v > hi) hi = v;
    if (v - v !== 0) throwNotFinite(data, at);
  }
  state.min = lo;
  state.max = hi;
}
