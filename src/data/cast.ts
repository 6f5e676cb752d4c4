import { dtypes, type DType, type TypedArray } from '../graph/dtype.ts';
import { fromFloat16, toFloat16 } from '../numerics/float16.ts';
import { QtoolError } from '../util/error.ts';

const floats = new Set<DType>(['float16', 'float32', 'float64']);
const limits: Partial<Record<DType, readonly [low: bigint, high: bigint]>> = {
  bool: [0n, 1n],
  uint8: [0n, 255n],
  int8: [-128n, 127n],
  uint16: [0n, 65535n],
  int16: [-32768n, 32767n],
  uint32: [0n, 4294967295n],
  int32: [-2147483648n, 2147483647n],
  uint64: [0n, 18446744073709551615n],
  int64: [-9223372036854775808n, 9223372036854775807n],
};

/**
 * A fresh copy of `data` in another element type, for feeding a model. Integers become any integer or float type, floats any
 * float type; a float becomes an integer only where it is one.
 * @throws QtoolError `data` for a value that the type cannot hold, and for types that have no cast.
 */
export function cast(data: TypedArray, from: DType, to: DType, what: string): TypedArray {
  if (from === to) return data.slice();
  const make = dtypes[to].array;
  if (make === undefined || (!floats.has(to) && limits[to] === undefined) || (!floats.has(from) && !limits[from]))
    throw new QtoolError('data', `${what} is ${from}, which cannot be fed as ${to}`);
  if (from === 'float16') return cast(fromFloat16(data as Uint16Array), 'float32', to, what);
  if (to === 'float16') return toFloat16(cast(data, from, 'float32', what) as Float32Array);
  const wide = data instanceof BigInt64Array || data instanceof BigUint64Array;
  const range = limits[to];
  if (range === undefined) {
    const out = new make(data.length) as Float32Array | Float64Array;
    if (!wide) out.set(data);
    else for (let i = 0; i < data.length; i++) out[i] = Number(data[i]);
    return out;
  }
  const [low, high] = [Number(range[0]), Number(range[1])];
  const bad = (value: number | bigint): QtoolError =>
    new QtoolError('data', `${what} holds ${value}, which ${to} cannot hold`, {
      hint: Number.isInteger(Number(value)) ? undefined : 'Give float data to a float input, or round it before.',
    });
  if (to === 'int64' || to === 'uint64') {
    const out = new make(data.length) as BigInt64Array | BigUint64Array;
    for (let i = 0; i < data.length; i++) {
      const value = data[i]!;
      if (!wide && !Number.isInteger(value)) throw bad(value);
      const exact = BigInt(value);
      if (exact < range[0] || exact > range[1]) throw bad(value);
      out[i] = exact;
    }
    return out;
  }
  const out = new make(data.length) as Int32Array;
  for (let i = 0; i < data.length; i++) {
    const value = Number(data[i]);
    if (!(value >= low && value <= high && Number.isInteger(value))) throw bad(data[i]!);
    out[i] = value;
  }
  return out;
}
