import { readBlob } from './blobs.ts';
import { chooseStream, headBits, joined, type Coded } from './choose.ts';
import type { Symbols } from './coders/symbols.ts';
import { crc32 } from './crc.ts';
import type { StoredTensor } from './wire.ts';

/** A tensor as an archive holds it. */
export interface PackedBlob {
  /** Its checksum, and what `readBlob` reads. */
  readonly numbers: readonly number[];
  readonly stored: Uint8Array;
  /** Bytes that it takes, with its description in the head. */
  readonly bytes: number;
  readonly facts: BlobFacts;
}

/** What Deep Compression's tables say of a layer. */
export interface BlobFacts {
  readonly elements: number;
  /** Elements that are not zero. */
  readonly kept: number;
  /** Different values of those; undefined where they are too many for a codebook. */
  readonly values: number | undefined;
  /** How the streams are coded, and what of. */
  readonly form: string;
  /** Bits of a kept weight before and after coding. */
  readonly weightBits: readonly [number, number];
  /** Bits of its relative position before and after coding; 0 after where positions are not coded by themselves. */
  readonly indexBits: readonly [number, number];
}

/** Of words of many values little is won by where they stand: less than this share of their bytes is not worth the time it takes. */
const worth = 0.02;

/** Codebooks of more values hardly ever pay. */
const mostWords = 4096;

/**
 * A tensor's bytes in the smallest form: as a codebook, as planes of bytes, as halves of bytes, each stream by the coder that makes it smallest.
 * @param field of TensorProto that holds them; undefined for what lies in another file
 * @param zeros which values stand for 0
 */
export function packBlob(
  bytes: Uint8Array,
  tensor: StoredTensor | undefined,
  field: number | undefined,
  zeros: ReadonlySet<number> = plainZero,
): PackedBlob {
  const kind = kindOf(tensor, field, bytes.length);
  const count = bytes.length / kind.width;
  const words = book(bytes, kind);
  const made = [planes(bytes, kind), ...words, ...(kind.width === 1 ? [nibbles(bytes)] : [])].map((seen) => {
    const coded = seen.streams.map((symbols) => {
      // Some words are left out of a stream: it has no rows any more.
      const rows = symbols.length < count ? [] : rowsOf(tensor?.dims ?? [], symbols.length);
      return chooseStream(symbols, seen.alphabet, rows, seen.form === 'planes' ? count * (kind.width - 1) * worth : 0);
    });
    const numbers = [...seen.numbers, ...coded.flatMap((one) => one.numbers)];
    const stored = joined(coded.map((one) => one.bytes));
    const size = stored.length + headBits(numbers, (next) => readBlob(next, bytes.length)) / 8;
    return { seen, coded, numbers, stored, size };
  });
  const best = made.reduce((a, b) => (b.size < a.size ? b : a));
  return {
    numbers: [crc32(bytes), ...best.numbers],
    stored: best.stored,
    bytes: best.size + 4,
    facts: factsOf(best.seen, best.coded, 8 * best.size, elementsOf(bytes, tensor, kind), zeros),
  };
}

const plainZero: ReadonlySet<number> = new Set([0]);

/** Types of half a byte. */
const nibbleTypes = [21, 22, 23];

/** Each element as a number: equal ones are equal, and 0 is that of which all bits are. */
function elementsOf(bytes: Uint8Array, tensor: StoredTensor | undefined, { width }: Kind): ArrayLike<number> {
  if (tensor && nibbleTypes.includes(tensor.type)) {
    const count = tensor.dims.reduce((a, b) => a * b, 1);
    return Uint8Array.from({ length: Math.min(count, 2 * bytes.length) }, (_, i) => (bytes[i >> 1]! >> (4 * (i & 1))) & 15); // prettier-ignore
  }
  if (width === 1) return bytes;
  const { buffer } = bytes.slice();
  return width === 2 ? new Uint16Array(buffer) : width === 4 ? new Uint32Array(buffer) : new Float64Array(buffer);
}

function factsOf(
  seen: Seen,
  coded: readonly Coded[],
  bits: number,
  values: ArrayLike<number>,
  zeros: ReadonlySet<number>,
): BlobFacts {
  const places: number[] = [];
  const distinct = new Set<number>();
  for (let i = 0; i < values.length; i++) {
    if (zeros.has(values[i]!)) continue;
    places.push(i);
    if (distinct.size <= mostWords) distinct.add(values[i]!);
  }
  const elements = values.length;
  const kept = Math.max(1, places.length);
  const codebook = distinct.size <= mostWords && 2 * distinct.size <= Math.max(2, elements) && seen.form !== 'planes';
  // Where no element is zero the places are those of some value, and belong to what is stored of it.
  const indexBits = places.length < elements ? coded.reduce((sum, one) => sum + one.indexBits, 0) : 0;
  const whole = (8 * seen.width) / (seen.form === 'halves' ? 2 : 1);
  return {
    ...{ elements, kept: places.length, values: codebook ? distinct.size : undefined },
    form: `${seen.form}: ${[...new Set(coded.map(({ coder }) => coder))].join(', ')}`,
    weightBits: [codebook ? Math.ceil(Math.log2(Math.max(2, distinct.size))) : whole, (bits - indexBits) / kept],
    indexBits: [positionBits(places, elements), indexBits / kept],
  };
}

/** The width of relative positions that takes least, with the zeros that fill gaps too long for it; 0 where nothing is zero. */
function positionBits(places: readonly number[], elements: number): number {
  if (places.length === elements) return 0;
  const size = (width: number): number => {
    let entries = places.length;
    for (let k = 0, before = -1; k < places.length; before = places[k++]!)
      entries += Math.floor((places[k]! - before - 1) / 2 ** width);
    return entries * (width + 5);
  };
  return [1, 2, 3, 4, 5, 6, 7, 8].reduce((a, b) => (size(b) < size(a) ? b : a));
}

interface Kind {
  /** Bytes of a word. */
  readonly width: number;
  readonly order: number;
}

/** What words are sorted as. */
const [unsigned, signed, float] = [0, 1, 2] as const;
/** Bytes and order of the words of each type of onnx.proto that is not one unsigned byte. */
const kinds: Readonly<Record<number, Kind>> = {
  1: { width: 4, order: float },
  3: { width: 1, order: signed },
  4: { width: 2, order: unsigned },
  5: { width: 2, order: signed },
  6: { width: 4, order: signed },
  7: { width: 8, order: signed },
  10: { width: 2, order: float },
  11: { width: 8, order: float },
  12: { width: 4, order: unsigned },
  13: { width: 8, order: unsigned },
  14: { width: 4, order: float },
  15: { width: 8, order: float },
  16: { width: 2, order: float },
};

function kindOf(tensor: StoredTensor | undefined, field: number | undefined, length: number): Kind {
  const bytes = { width: 1, order: unsigned };
  // Integers in fields of their own are varints.
  const kind = tensor && ![5, 7, 11].includes(field ?? 9) ? (kinds[tensor.type] ?? bytes) : bytes;
  return length % kind.width === 0 ? kind : bytes;
}

/** How many symbols may be in a row: those of all axes but the first, of the last one, of a kernel. */
function rowsOf(dims: readonly number[], count: number): number[] {
  const product = (list: readonly number[]): number => list.reduce((a, b) => a * b, 1);
  const each = count / Math.max(1, product(dims));
  return [product(dims.slice(1)), dims.at(-1) ?? 1, product(dims.slice(2))].map((n) => Math.round(n * each));
}

interface Seen {
  readonly form: 'planes' | 'halves' | 'codebook';
  readonly alphabet: number;
  /** The view's part of what `readBlob` reads. */
  readonly numbers: readonly number[];
  /** Bytes of a word. */
  readonly width: number;
  readonly streams: readonly Symbols[];
}

function planes(bytes: Uint8Array, { width, order }: Kind): Seen {
  // Words of 64 bits no reader turns.
  const turned = order === float && width < 8;
  const words = turned ? turn(bytes, width) : bytes;
  const flipped = order === signed && width === 1;
  const count = bytes.length / width;
  const byte = (plane: number): Uint8Array => {
    const flip = flipped && plane === 0 ? 128 : 0;
    const out = new Uint8Array(count);
    for (let i = 0, from = width - 1 - plane; i < count; i++, from += width) out[i] = words[from]! ^ flip;
    return out;
  };
  const all = Array.from({ length: width }, (_, plane) => byte(plane));
  const [first, ...others] = all as [Uint8Array, ...Uint8Array[]];
  let kept = 0;
  let lost = width === 1;
  for (let i = 0; i < count; i++)
    if (first[i] !== 0) kept++;
    else lost ||= others.some((plane) => plane[i] !== 0);
  const numbers = [0, Math.log2(width), turned ? 1 : 0, flipped ? 128 : 0, lost ? 0 : count - kept];
  const streams = lost ? all : [first, ...others.map((plane) => plane.filter((_, i) => first[i] !== 0))];
  return { form: 'planes', alphabet: 256, numbers, streams, width };
}

/** Each word a bit to the left, the highest bit to the bottom. */
function turn(bytes: Uint8Array, width: number): Uint8Array {
  const out = new Uint8Array(bytes.length);
  for (let i = 0; i < bytes.length; i += width)
    for (let k = 0; k < width; k++) out[i + k] = (bytes[i + k]! << 1) | (bytes[i + ((k + width - 1) % width)]! >>> 7);
  return out;
}

function nibbles(bytes: Uint8Array): Seen {
  const halves = new Uint8Array(2 * bytes.length);
  for (let i = 0; i < bytes.length; i++) {
    halves[2 * i] = bytes[i]! & 15;
    halves[2 * i + 1] = bytes[i]! >>> 4;
  }
  return { form: 'halves', alphabet: 16, numbers: [1], streams: [halves], width: 1 };
}

/** The distinct words and where each stands; nothing where they are too many. */
function book(bytes: Uint8Array, { width, order }: Kind): Seen[] {
  if (width > 4) return [];
  const aligned = bytes.slice();
  const array = width === 4 ? Uint32Array : width === 2 ? Uint16Array : Uint8Array;
  const words = new array(aligned.buffer);
  const places = new Map<number, number>();
  for (let i = 0; i < words.length; i++) {
    if (places.has(words[i]!)) continue;
    places.set(words[i]!, 0);
    if (places.size > mostWords || places.size > Math.max(1, words.length / 2)) return [];
  }
  const bits = 8 * width;
  const sorted = [...places.keys()].sort((a, b) => keyOf(a, bits, order) - keyOf(b, bits, order));
  for (const [i, word] of sorted.entries()) places.set(word, i);
  const symbols = sorted.length > 256 ? new Uint16Array(words.length) : new Uint8Array(words.length);
  for (let i = 0; i < words.length; i++) symbols[i] = places.get(words[i]!)!;
  let zeros = 0;
  while (zeros < bits - 1 && sorted.every((word) => word % 2 ** (zeros + 1) === 0)) zeros++;
  const keys = sorted.map((word) => keyOf(word / 2 ** zeros, bits - zeros, order));
  const distances = keys.map((key, i) => key - (keys[i - 1] ?? -1) - 1);
  const numbers = [2, Math.log2(width), order, zeros, sorted.length, ...distances];
  return [{ form: 'codebook', alphabet: sorted.length, numbers, streams: [symbols], width }];
}

/** A word as a number that sorts as the value it stands for. */
function keyOf(word: number, bits: number, order: number): number {
  const half = 2 ** (bits - 1);
  if (order === unsigned) return word;
  if (word < half) return word + half;
  return order === signed ? word - half : 2 * half - 1 - word;
}
