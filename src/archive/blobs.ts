import { damaged } from './damaged.ts';
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
      unpack(bytes) {
        const symbols = unpack(bytes);
        const out = new array(count);
        for (let i = 0; i < count; i++) out[i] = words[symbols[i]!]!;
        return new Uint8Array(out.buffer);
      },
    };
  }
  const turned = next('turn') > 0;
  const flip = next('flip');
  const kept = count - next('gone');
  if (kept < 0) damaged();
  const streams: ReturnType<typeof readStream>[] = [];
  for (let plane = 0; plane < width; plane++)
    streams.push(readStream((about) => next(about + plane), 256, plane > 0 ? kept : count));
  return {
    size: streams.reduce((sum, { size }) => sum + size, 0),
    unpack(bytes) {
      const out = new Uint8Array(length);
      let from = 0;
      let first: Uint8Array | undefined;
      for (const [plane, { size, unpack }] of streams.entries()) {
        const symbols = unpack(bytes.subarray(from, (from += size)));
        for (let i = 0, k = 0, to = width - 1 - plane; i < count; i++, to += width)
          if (kept === count || !first || first[i] !== 0) out[to] = symbols[k++]!;
        first ??= symbols as Uint8Array;
      }
      for (let to = width - 1; flip > 0 && to < length; to += width) out[to]! ^= flip;
      const words = new (arrayOf(width))(out.buffer);
      for (let i = 0; turned && i < count; i++) words[i] = (words[i]! >>> 1) | (words[i]! << (8 * width - 1));
      return out;
    },
  };
}

/** What holds words of up to four bytes. */
const arrayOf = (width: number): typeof Uint32Array | typeof Uint16Array | typeof Uint8Array =>
  width > 2 ? Uint32Array : width > 1 ? Uint16Array : Uint8Array;

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
