import { damaged } from '../damaged.ts';
import type { Symbols } from './symbols.ts';

// Range asymmetric numeral systems (Duda 2013; the arithmetic as in Giesen's ryg_rans): two states in turn, each 32 bits, that give away
// 16 at a time. Frequencies are of 2^scale in all.

/** The scale of alphabets of up to 256 symbols. */
export const frequencyBits = 12;

/** Larger alphabets have a larger sum, so that rare symbols have a frequency near theirs. */
export const scaleOf = (alphabet: number): number => (alphabet > 256 ? 15 : frequencyBits);

const low = 2 ** 16;

/** Words of 16 bits, little-endian. */
export const wordsOf = (bytes: Uint8Array): Uint16Array => new Uint16Array(bytes.slice(0, bytes.length & ~1).buffer);

/** Decodes words of 16 bits, little-endian, the two states in front. A symbol that occurs alone takes none. */
export function decodeRans(bytes: Uint8Array, table: ArrayLike<number>, scale: number, out: Symbols): void {
  // At each place the symbol, and its frequency and how far into its span the place is.
  const size = 2 ** scale;
  const symbols = new Uint16Array(size);
  const spans = new Uint32Array(size);
  let place = 0;
  for (let symbol = 0; symbol < table.length; symbol++) {
    for (let k = 0; k < table[symbol]! && place <= size; k++, place++) {
      symbols[place] = symbol;
      spans[place] = table[symbol]! * low + k;
    }
  }
  if (place !== size) damaged();
  if (spans[size - 1]! >>> 16 === size) return void out.fill(symbols[0]!);
  const words = wordsOf(bytes);
  let at = 4;
  let a = words[0]! | (words[1]! << 16);
  let b = words[2]! | (words[3]! << 16);
  for (let i = 0; i < out.length; i++) {
    const place = a & (size - 1);
    const span = spans[place]!;
    out[i] = symbols[place]!;
    const state = (Math.imul(span >>> 16, a >>> scale) + (span & 0xffff)) | 0;
    a = b;
    b = state >>> 16 ? state : (state << 16) | words[at++]!;
  }
}

/** Counts as frequencies that sum up to 2^scale, each that occurs at least 1; what rounding makes too much or too little falls to the largest. */
export function frequencies(counts: ArrayLike<number>, scale: number): Uint16Array {
  const all = Array.from(counts);
  const sum = all.reduce((a, b) => a + b, 0);
  const total = 2 ** scale;
  const result = Uint16Array.from(all, (count) => (count === 0 ? 0 : Math.max(1, Math.round((count / sum) * total))));
  const order = [...result.keys()].filter((symbol) => result[symbol]! > 0).sort((a, b) => result[b]! - result[a]!);
  let left = order.reduce((rest, symbol) => rest - result[symbol]!, total);
  if (left > 0) result[order[0]!]! += left;
  while (left < 0)
    for (const symbol of order) {
      const taken = Math.min(-left, result[symbol]! - 1, Math.max(1, result[symbol]! >> 5));
      result[symbol]! -= taken;
      left += taken;
    }
  return result;
}

/** The sum of the frequencies before each symbol. */
export function startsOf(table: Uint16Array): Uint32Array {
  const result = new Uint32Array(table.length);
  for (let symbol = 1; symbol < table.length; symbol++) result[symbol] = result[symbol - 1]! + table[symbol - 1]!;
  return result;
}

/** The other side of `decodeRans`. */
export function encodeRans(symbols: Symbols, table: Uint16Array, scale: number): Uint8Array {
  if (table.some((frequency) => frequency === 2 ** scale)) return new Uint8Array(0);
  const start = startsOf(table);
  return encodeSpans(
    symbols.length,
    (i) => start[symbols[i]!]!,
    (i) => table[symbols[i]!]!,
    scale,
  );
}

/** Codes `count` spans of 2^scale places, each by its start and length, in two states in turn: from the last on, as they are decoded from the first. */
export function encodeSpans(
  count: number,
  startOf: (i: number) => number,
  lengthOf: (i: number) => number,
  scale: number,
): Uint8Array {
  const words = new Uint16Array(count + 4);
  let at = words.length;
  const states = [low, low];
  for (let i = count - 1; i >= 0; i--) {
    const length = lengthOf(i);
    let state = states[i & 1]!;
    if (state >= length * 2 ** (32 - scale)) {
      words[--at] = state;
      state = Math.floor(state / low);
    }
    states[i & 1] = Math.floor(state / length) * 2 ** scale + (state % length) + startOf(i);
  }
  for (const state of [states[1]!, states[0]!]) {
    words[--at] = state / low;
    words[--at] = state;
  }
  return new Uint8Array(words.buffer, 2 * at);
}
