import { damaged } from './damaged.ts';
import type { Symbols } from './coders/symbols.ts';
import { readStream, type Next, type Stored } from './streams.ts';

/**
 * Reads the description of a tensor of `length` bytes. Its first number says how these are seen as symbols: 0 as planes, 1 as nibbles, 2 as a book.
 *
 * As planes it is one stream for each byte of a word, the highest first. `turned`: the sign stands in the lowest bit, so that the first byte of a
 * float32 is its exponent. `kept`: where that is fewer than there are words, the first byte of the others is 0, as they are, and the other
 * streams leave them out. `flip`: the highest bit the other way round, so that signed integers are in order.
 *
 * As nibbles it is one stream of half bytes, the lower half first; as a book one of indices into a list of words.
 */
export function readBlob(next: Next, length: number): Stored<Uint8Array> {
  const view = next('view');
  if (view === 1) {
    const { size, unpack } = readStream(next, 16, 2 * length);
    return {
      size,
      unpack(bytes) {
        const halves = unpack(bytes);
        return new Uint8Array(length).map((_, i) => halves[2 * i]! | (halves[2 * i + 1]! << 4));
      },
    };
  }
  const width = 2 ** next('width');
  const count = length / width;
  if (width > 8 || count % 1 > 0) damaged();
  if (view === 2) {
    const array = arrayOf(width);
    const words = array.from(readWords(next, 8 * width, count));
    const { size, unpack } = readStream(next, words.length, count);
    return {
      size,
      unpack: (bytes) => look(new array(count), words, unpack(bytes)),
    };
  }
  const turn = Math.min(1, next('turn'));
  const flip = next('flip');
  const kept = count - next('gone');
  if (kept < 0) damaged();
  const streams: ReturnType<typeof readStream>[] = [];
  for (let plane = 0; plane < width; plane++)
    streams.push(readStream((about) => next(about + plane), 256, plane > 0 ? kept : count));
  return {
    size: streams.reduce((sum, { size }) => sum + size, 0),
    unpack(bytes) {
      let from = 0;
      let first: Symbols | undefined;
      const planes = streams.map(({ size, unpack }) => {
        const symbols = unpack(bytes.subarray(from, (from += size)));
        if (first) return kept < count ? spread(symbols, first) : symbols;
        first = symbols;
        return flip ? symbols.map((byte) => byte ^ flip) : symbols;
      });
      const words = new (arrayOf(width))(length / Math.min(width, 4));
      // Of eight bytes the four higher ones are the second word.
      for (let at = width >> 3, k = 0; at >= 0; at--, k += 4)
        weave(
          words,
          [0, 1, 2, 3].map((next) => planes[(k + next) % width]!),
          at,
          turn,
        );
      return new Uint8Array(words.buffer);
    },
  };
}

// What goes through all words is a function of its own: within the closures above it would be compiled for their variables, many times as slow.

/** The word of each symbol. */
function look(out: Words, words: Words, symbols: Symbols): Uint8Array {
  for (let i = 0; i < out.length; i++) out[i] = words[symbols[i]!]!;
  return new Uint8Array(out.buffer);
}

/** Symbols where `first` is not 0, zeros elsewhere. */
function spread(symbols: Symbols, first: Symbols): Symbols {
  const out = new Uint8Array(first.length);
  for (let i = 0, k = 0; i < out.length; i++) if (first[i] !== 0) out[i] = symbols[k++]!;
  return out;
}

/**
 * Puts words together, the highest byte first, and turns them right by `turn` bits: from `at` on, as many as there are planes for. Of narrower words, which stand
 * several times in 32 bits, the upper bits are lost where they are stored, and turning is the same.
 */
function weave(out: Words, [a, b, c, d]: Symbols[], at: number, turn: number): void {
  const step = out.length / a!.length;
  for (let i = 0; i < a!.length; i++, at += step) {
    const word = (a![i]! << 24) | (b![i]! << 16) | (c![i]! << 8) | d![i]!;
    out[at] = (word >>> turn) | (word << (32 - turn));
  }
}

type Words = Int32Array | Uint16Array | Uint8Array;

/** What holds words of up to four bytes. */
const arrayOf = (width: number): typeof Int32Array | typeof Uint16Array | typeof Uint8Array =>
  width > 2 ? Int32Array : width > 1 ? Uint16Array : Uint8Array;

/** Words, sorted as unsigned (0) or signed integers (1) or as floats (2), by their distances. Low bits that are 0 in all of them are left out. */
function readWords(next: Next, width: number, count: number): number[] {
  const order = next('order');
  const zeros = next('zeros');
  const length = next('words');
  if (length > Math.max(1, count) || zeros >= width) damaged();
  const half = 2 ** (width - zeros - 1);
  const words: number[] = [];
  for (let i = 0, key = -1; i < length; i++) {
    key += next('word') + 1;
    // The other way of `keyOf`.
    const word = order === 0 ? key : key >= half ? key - half : order === 1 ? key + half : 2 * half - 1 - key; // prettier-ignore
    words.push(word * 2 ** zeros);
  }
  return words;
}
