import { QtoolError } from '../util/error.ts';
import { fromFloat16 } from './float16.ts';

/** What observers read of a tensor. `type` is needed only where the array does not tell it: float16 comes as bit patterns. */
export interface Values {
  readonly type?: string;
  readonly dims: readonly number[];
  readonly data: ArrayBufferView | readonly string[];
}

/**
 * The values as float32: float32 as it is, float64 rounded, float16 decoded.
 *
 * @throws QtoolError `graph` naming `at` for every other type: statistics of indices or strings mean nothing.
 */
export function floatsOf(values: Values, at?: string): Float32Array {
  const { data } = values;
  if (data instanceof Float32Array) return data;
  if (data instanceof Float64Array) return Float32Array.from(data);
  if (data instanceof Uint16Array && values.type === 'float16') return fromFloat16(data);
  throw new QtoolError('graph', `statistics are of float tensors, not of ${values.type ?? 'integers or strings'}`, {
    at,
  });
}
