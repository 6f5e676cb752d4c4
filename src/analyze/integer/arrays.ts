import type { Tensor } from '../../data/types.ts';
import { dtypes } from '../../graph/dtype.ts';
import { elementCount } from '../../graph/tensor.ts';
import type { Pool } from './pool.ts';
import type { Code, CodeArray, Codes, CodeType, Target } from './steps.ts';

/** Codes of a type from integers that fit it. */
export function codesOf(type: CodeType, dims: readonly number[], values: ArrayLike<number>): Codes {
  const array = dtypes[type].array as unknown as new (values: ArrayLike<number>) => CodeArray;
  return { type, dims, data: new array(values) };
}

/** Codes less their zero point, as a float graph takes them. */
export function centred({ dims, data }: Pick<Codes, 'dims' | 'data'>, zeroPoint: number): Tensor {
  const centred = new Float32Array(data.length);
  for (let i = 0; i < centred.length; i++) centred[i] = data[i]! - zeroPoint;
  return { type: 'float32', dims, data: centred };
}

/** The real numbers that codes stand for, as DequantizeLinear makes them. */
export function dequantized({ dims, data }: Codes, { scale, zeroPoint }: Code): Tensor {
  const real = new Float32Array(data.length);
  for (let i = 0; i < real.length; i++) real[i] = (data[i]! - zeroPoint) * scale;
  return { type: 'float32', dims, data: real };
}

/** What a graph makes of centred codes, as codes. */
export function uncentred({ dims, data }: Tensor, { type, zeroPoint }: Code): Codes {
  const codes = codesOf(type, dims, data as Float32Array);
  for (let i = 0; i < data.length; i++) codes.data[i] = (data[i] as number) + zeroPoint;
  return codes;
}

/** Unsigned bytes less a zero point. */
export interface Bytes {
  readonly data: Uint8Array;
  readonly zero: number;
}

/** Codes less their zero point as Σ (byte − zero) · 256^i, lowest byte first. */
export function bytesOf({ data }: Codes, { type, zeroPoint }: Code): Bytes[] {
  if (data instanceof Uint8Array) return [{ data, zero: zeroPoint }];
  const lift = type === 'int8' ? 128 : type === 'int16' ? 32768 : 0;
  const zero = zeroPoint + lift;
  return (type === 'int8' ? [0] : [0, 8]).map((shift) => {
    const bytes = new Uint8Array(data.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = (data[i]! + lift) >> shift;
    return { data: bytes, zero: (zero >> shift) & 255 };
  });
}

/** Integers of any size as Σ (byte − 128) · 256^i, as many bytes as they need, at most the four of an int32. */
export function signedBytes(values: Int32Array): Bytes[] {
  const parts: Bytes[] = [];
  let rest = values;
  do {
    const data = rest.map((value) => (value + 128) & 255);
    rest = rest.map((value) => (value + 128) >> 8);
    parts.push({ data: Uint8Array.from(data), zero: 128 });
  } while (parts.length < 4 && rest.some((value) => value !== 0));
  return parts;
}

/** Numbers that are rescaled at a time: what lies between stays in the processor's cache. */
const stretch = 8192;

/**
 * The codes that numbers come to: `make` gives those of a stretch, which starts at a multiple of `period`; then the zero point is added
 * (unless `make` did) and they are cut to the ends.
 */
export function settled(
  pool: Pool,
  { code, low, high }: Target,
  [length, period]: readonly [number, number],
  make: (start: number, end: number, into: Int32Array) => void,
  shifted = false,
): CodeArray {
  const codes = pool.take(code.type, length) as CodeArray;
  const size = Math.min(length, Math.ceil(stretch / period) * period);
  const values = pool.take('int32', size) as Int32Array;
  const zero = shifted ? 0 : code.zeroPoint;
  const ends = { zero, least: low - zero, most: high - zero };
  for (let start = 0; start < length; start += size) {
    const end = Math.min(length, start + size);
    const own = end - start === size ? values : values.subarray(0, end - start);
    make(start, end, own);
    cut(own, ends, codes, start);
  }
  pool.give(values);
  return codes;
}

/** What codes are cut to, before their zero point is added. */
interface Ends {
  readonly zero: number;
  readonly least: number;
  readonly most: number;
}

/** Cuts to the ends and adds the zero point. */
function cut(values: Int32Array, ends: Ends, into: CodeArray, at: number): void {
  if (cutNarrow(values, ends, into, at) < 2 ** 30) return;
  const { zero, least, most } = ends;
  for (let i = 0; i < values.length; i++) into[at + i] = Math.min(most, Math.max(least, values[i]!)) + zero;
}

/**
 * The same for numbers below 2^30, whose differences fit int32, without branches: which side of a Relu a number is on no processor foresees.
 * Gives a number of the magnitude of the largest.
 */
function cutNarrow(values: Int32Array, { zero, least, most }: Ends, into: CodeArray, at: number): number {
  const [span, high] = [most - least, most + zero];
  let wide = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    wide |= value ^ (value >> 31);
    let above = (value - least) | 0;
    above &= ~(above >> 31);
    const over = (above - span) | 0;
    into[at + i] = high + (over & (over >> 31));
  }
  return wide;
}

/** The shape that two broadcast to. */
export function broadcastDims(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  const at = (dims: readonly number[], d: number): number => dims[d - rank + dims.length] ?? 1;
  return Array.from({ length: rank }, (_, d) => (at(a, d) === 1 ? at(b, d) : at(a, d)));
}

/** Codes repeated to a shape that theirs broadcasts to; shared where it is theirs. */
export function broadcast({ type, dims, data }: Codes, to: readonly number[]): CodeArray {
  const size = elementCount(to);
  if (size === data.length) return data;
  const into = codesOf(type, to, new Uint8Array(size)).data;
  const own = to.map((_, d) => dims[d - to.length + dims.length] ?? 1);
  const steps = own.map((dim, d) => (dim === 1 ? 0 : elementCount(own.slice(d + 1))));
  const place = to.map(() => 0);
  for (let i = 0, from = 0; i < size; i++) {
    into[i] = data[from]!;
    for (let d = to.length - 1; d >= 0; d--) {
      from += steps[d]!;
      if (++place[d]! < to[d]!) break;
      from -= steps[d]! * to[d]!;
      place[d] = 0;
    }
  }
  return into;
}

/** Codes of one type joined along an axis. */
export function joined(parts: readonly Codes[], axis: number, { type }: Code): Codes {
  const [first] = parts;
  const rank = first?.dims.length ?? 0;
  const at = axis < 0 ? axis + rank : axis;
  const dims = (first?.dims ?? []).map((dim, d) =>
    d === at ? parts.reduce((sum, one) => sum + one.dims[d]!, 0) : dim,
  );
  const codes = codesOf(type, dims, new Uint8Array(elementCount(dims)));
  const row = elementCount(dims.slice(at));
  let offset = 0;
  for (const part of parts) {
    const own = elementCount(part.dims.slice(at));
    for (let from = 0, to = offset; from < part.data.length; from += own, to += row)
      codes.data.set(part.data.subarray(from, from + own), to);
    offset += own;
  }
  return codes;
}
