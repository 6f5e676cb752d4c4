import { QtoolError } from '../util/error.ts';
import type { Fold } from './fold.ts';

/** Whether every element is finite. One multiply-add an element: v·0 is NaN for NaN and ±∞ alone. */
export function allFinite(data: Float32Array | Float64Array): boolean {
  // Four sums, so that no addition waits for the one before it.
  let [a, b, c, d] = [0, 0, 0, 0];
  const even = data.length - (data.length % 4);
  for (let i = 0; i < even; i += 4) {
    a += data[i]! * 0;
    b += data[i + 1]! * 0;
    c += data[i + 2]! * 0;
    d += data[i + 3]! * 0;
  }
  for (let i = even; i < data.length; i++) a += data[i]! * 0;
  return a + b + c + d === 0;
}

/**
 * Nothing if every element is finite.
 *
 * @throws QtoolError `data` naming `at`, the first bad element and its position.
 */
export function checkFinite(data: Float32Array | Float64Array, at?: string): void {
  if (!allFinite(data)) throwNotFinite(data, at);
}

/** Throws the error for data known to hold NaN or infinity. */
export function throwNotFinite(data: Float32Array | Float64Array, at?: string): never {
  const first = data.findIndex((v) => !Number.isFinite(v));
  throw new QtoolError('data', `${String(data[first])} at element ${first} of ${data.length}`, {
    at,
    hint: 'statistics need finite numbers: find the layer that makes NaN or infinity, or the broken sample',
  });
}

/** A fold whose result is undefined where its data holds what it cannot take (`data`): NaN or infinity. */
export function whereFinite<I, S, R>(fold: Fold<I, S, R>): Fold<I, S | undefined, R | undefined> {
  return {
    ...fold,
    add(state, input) {
      if (state === undefined) return undefined;
      try {
        return fold.add(state, input);
      } catch (error) {
        if (!(error instanceof QtoolError) || error.code !== 'data') throw error;
        return undefined;
      }
    },
    finish: (state) => (state === undefined ? undefined : fold.finish(state)),
  };
}
