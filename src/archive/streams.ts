import { widthOf } from './bits.ts';
import { decodeGaps } from './coders/gaps.ts';
import { decodeHuffman } from './coders/huffman.ts';
import { decodeMatrix, valueContexts } from './coders/matrix.ts';
import { decodeRans, scaleOf } from './coders/rans.ts';
import type { Symbols } from './coders/symbols.ts';
import { damaged } from './damaged.ts';

/** Gives the next number of a head. An encoder's writes it too. `about` says which numbers are alike. */
export type Next = (about: string) => number;

/** Something in an archive, as its head describes it. */
export interface Stored<T> {
  /** Bytes that it takes behind the head. */
  readonly size: number;
  readonly unpack: (bytes: Uint8Array) => T;
}

/**
 * Reads the description of a stream of `count` symbols below `alphabet`. Its first number says how it is coded: 0 not at all, 1 by a Huffman code,
 * 2 by rANS, 3 as gaps and values, 4 as a matrix. @param inner whether it is one of gaps or values, which have no gaps of their own
 */
export function readStream(next: Next, alphabet: number, count: number, inner?: boolean): Stored<Symbols> {
  const made = (size: number, decode: (bytes: Uint8Array, out: Symbols) => void): Stored<Symbols> => ({
    size,
    unpack(bytes) {
      const out = alphabet > 256 ? new Uint16Array(count) : new Uint8Array(count);
      decode(bytes, out);
      return out;
    },
  });
  const coder = next('coder');
  if (coder === 0) return { size: count, unpack: (bytes) => bytes };
  if (coder === 3) {
    const zero = next('zero');
    const width = next('width');
    const entries = next('entries');
    if (inner || width > 8 || entries > count) damaged();
    const gaps = readStream(next, 2 ** width, entries, true);
    const values = readStream(next, alphabet, entries, true);
    return made(gaps.size + values.size, (bytes, out) =>
      decodeGaps(gaps.unpack(bytes.subarray(0, gaps.size)), values.unpack(bytes.subarray(gaps.size)), out.fill(zero)),
    );
  }
  const size = next('size');
  if (coder < 3) {
    const list = readList(next, coder > 1 ? 'often' : 'length', alphabet);
    return made(size, (bytes, out) =>
      coder > 1 ? decodeRans(bytes, list, scaleOf(alphabet), out) : decodeHuffman(bytes, list, out),
    );
  }
  const zero = next('zero');
  const flagged = next('flagged') > 0;
  const period = next('period');
  const layout = { alphabet, zero, flagged, period };
  const more = next('more');
  if (alphabet > 256 || zero >= alphabet || period < 1 || period > count) damaged();
  const tables: number[][] = [];
  while (tables.length < Math.min(more, valueContexts)) tables.push(readList(next, 'often', alphabet));
  const uses = readList(next, 'use', valueContexts, more > 1);
  return made(size, (bytes, out) => decodeMatrix(bytes, out as Uint8Array, layout, tables, uses));
}

/** Numbers that are like the one before; zeros where there are none to read. */
function readList(next: Next, about: string, length: number, there = true): number[] {
  const result: number[] = [];
  for (let width = 0; result.length < length; width = widthOf(result.at(-1)!))
    result.push(there ? next(about + width) : 0);
  return result;
}
