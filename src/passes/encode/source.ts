import type { TypedArray } from '../../graph/dtype.ts';
import { elementCount } from '../../graph/tensor.ts';

/** Element types that can be stored in another form. */
export const storable = ['int8', 'uint8', 'int16', 'uint16', 'int32', 'float32'] as const;
export type Storable = (typeof storable)[number];

export type Symbols = Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array;

/**
 * What a form is asked to store. Its elements are looked at as whole numbers, "symbols": integers as they are, float32 by
 * its bits, so that -0 and NaN are what they are and exact means bit for bit.
 */
export interface Source {
  readonly type: Storable;
  readonly dims: readonly number[];
  readonly count: number;
  /** How often each symbol occurs; undefined beyond `mostDistinct`. */
  histogram(): ReadonlyMap<number, number> | undefined;
  /** Smallest and largest symbol; 0 and 0 of an empty tensor. */
  range(): { readonly least: number; readonly most: number };
  /** The elements in row-major order; computed at each call, nothing is kept. */
  symbols(): Symbols;
}

/** Beyond this many different values a table of them is no smaller than the tensor. */
const mostDistinct = 65536;

/** A source whose symbols are computed when asked. */
export function makeSource(
  type: Storable,
  dims: readonly number[],
  symbols: () => Symbols,
  known?: ReadonlyMap<number, number>,
): Source {
  let counted: { readonly counts: ReturnType<Source['histogram']> } | undefined = known && { counts: known };
  const histogram = (): ReadonlyMap<number, number> | undefined =>
    (counted ??= { counts: countSymbols(symbols()) }).counts;
  const range = (): { least: number; most: number } => {
    let [least, most] = [Infinity, -Infinity];
    for (const symbol of histogram()?.keys() ?? symbols()) {
      if (symbol < least) least = symbol;
      if (symbol > most) most = symbol;
    }
    return least > most ? { least: 0, most: 0 } : { least, most };
  };
  return { type, dims, count: elementCount(dims), symbols, histogram, range };
}

/** The symbols that elements stand for, and the elements that symbols stand for. */
export function symbolsOf(data: TypedArray): Symbols {
  return data instanceof Float32Array ? new Int32Array(data.buffer, data.byteOffset, data.length) : (data as Symbols);
}

const arrays = { int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, int32: Int32Array };

export function valuesOf(type: Storable, symbols: Iterable<number>): TypedArray {
  return type === 'float32' ? new Float32Array(Int32Array.from(symbols).buffer) : arrays[type].from(symbols);
}

function countSymbols(symbols: Symbols): ReadonlyMap<number, number> | undefined {
  const counts = new Map<number, number>();
  for (let i = 0; i < symbols.length; i++) {
    const symbol = symbols[i]!;
    const seen = counts.get(symbol);
    if (seen === undefined && counts.size === mostDistinct) return undefined;
    counts.set(symbol, (seen ?? 0) + 1);
  }
  return counts;
}
