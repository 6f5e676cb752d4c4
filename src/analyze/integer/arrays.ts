import type { Tensor } from '../../data/types.ts';
import { dtypes } from '../../graph/dtype.ts';
import { elementCount } from '../../graph/tensor.ts';
import type { Code, Codes, Digits, Target } from './steps.ts';

/** Codes less their zero point, as a graph takes them. */
export function centred({ dims, data }: Codes, { zeroPoint }: Pick<Code, 'zeroPoint'>): Tensor {
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
export function uncentred({ dims, data }: Tensor, zeroPoint: number): Codes {
  const codes = new Int32Array(data.length);
  for (let i = 0; i < codes.length; i++) codes[i] = (data[i] as number) + zeroPoint;
  return { dims, data: codes };
}

/** Codes in their own type. */
export function packed({ dims, data }: Codes, { type }: Pick<Code, 'type'>): Tensor {
  const array = dtypes[type].array as unknown as new (values: ArrayLike<number>) => Uint8Array;
  return { type, dims, data: new array(data) };
}

/** Integers from a tensor of any integer type. */
export function codesFrom({ dims, data }: Tensor): Codes {
  return { dims, data: data instanceof Int32Array ? data : new Int32Array(data as ArrayLike<number>) };
}

/** Centred codes cut into parts of a few bits: Σ part · 2^(bits·i). */
export function partsOf(centredCodes: Tensor, { count, bits }: Digits): Tensor[] {
  if (count === 1) return [centredCodes];
  const whole = centredCodes.data as Float32Array;
  return Array.from({ length: count }, (_, part) => {
    const [unit, base] = [2 ** (bits * part), 2 ** bits];
    const data = whole.map((value) => {
      const above = Math.floor(value / unit);
      return part === count - 1 ? above : above - base * Math.floor(above / base);
    });
    return { ...centredCodes, data };
  });
}

/** Adds the output's zero point and cuts to the ends, in place. */
export function finish(values: Int32Array, { code: { zeroPoint }, low, high }: Target, shifted = false): void {
  const zero = shifted ? 0 : zeroPoint;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]! + zero;
    values[i] = value < low ? low : value > high ? high : value;
  }
}

/** The shape that two broadcast to. */
export function broadcastDims(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  const at = (dims: readonly number[], d: number): number => dims[d - rank + dims.length] ?? 1;
  return Array.from({ length: rank }, (_, d) => (at(a, d) === 1 ? at(b, d) : at(a, d)));
}

/** Integers repeated to a shape that theirs broadcasts to; shared where it is theirs. */
export function broadcast({ dims, data }: Codes, to: readonly number[]): Int32Array {
  const size = elementCount(to);
  if (size === data.length) return data;
  const into = new Int32Array(size);
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

/** Tensors joined along an axis. */
export function joined(parts: readonly Codes[], axis: number): Codes {
  const [first] = parts;
  const rank = first?.dims.length ?? 0;
  const at = axis < 0 ? axis + rank : axis;
  const dims = (first?.dims ?? []).map((dim, d) =>
    d === at ? parts.reduce((sum, one) => sum + one.dims[d]!, 0) : dim,
  );
  const data = new Int32Array(elementCount(dims));
  const row = elementCount(dims.slice(at));
  let offset = 0;
  for (const part of parts) {
    const own = elementCount(part.dims.slice(at));
    for (let from = 0, to = offset; from < part.data.length; from += own, to += row)
      data.set(part.data.subarray(from, from + own), to);
    offset += own;
  }
  return { dims, data };
}
