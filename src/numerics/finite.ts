import { QtoolError } from '../util/error.ts';

/**
 * Nothing if every element is finite. One multiply-add an element: v·0 is NaN for NaN and ±∞ alone.
 *
 * @throws QtoolError `data` naming `at`, the first bad element and its position.
 */
export function checkFinite(data: Float32Array | Float64Array, at?: string): void {
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += (data[i] as number) * 0;
  if (sum !== 0) throwNotFinite(data, at);
}

/** Throws the error for data known to hold NaN or infinity. */
export function throwNotFinite(data: Float32Array | Float64Array, at?: string): never {
  throw new QtoolError('data', firstNonFinite(data) ?? 'no finite sum', {
    at,
    hint: 'statistics need finite numbers: find the layer that makes NaN or infinity, or the broken sample',
  });
}

/** The first element that is NaN or infinite, in words; undefined where all are finite. */
export function firstNonFinite(data: Float32Array | Float64Array): string | undefined {
  const first = data.findIndex((v) => !Number.isFinite(v));
  return first < 0 ? undefined : `${String(data[first])} at element ${first} of ${data.length}`;
}
