import { counters, learnt } from '../bits.ts';
import { damaged } from '../damaged.ts';
import { frequencyBits, wordsOf } from './rans.ts';

/** What is known of a matrix of symbols beforehand. */
export interface Layout {
  /** Symbols are below this, at most 256. */
  readonly alphabet: number;
  /** The commonest symbol: that of zeros, where most are. Symbols near it are small values. */
  readonly zero: number;
  /** Whether a bit first says of each symbol if it is the commonest: where it is common. */
  readonly flagged: boolean;
  /** Symbols in a row; 1 where there are none. */
  readonly period: number;
}

/** Classes of a share in 1/2048, finer where it is small. */
const edges = [20, 61, 122, 204, 348, 511, 716, 1023, 1433, 1740];
const classes = edges.length + 1;
const classOf = Uint8Array.from({ length: 2048 }, (_, n) => edges.filter((edge) => edge < n).length);
export const flagContexts = 2 * classes * classes;

/** A column's share is the mean of what was seen, and from the twentieth row on a fading one. */
export const columnSteps = Int32Array.from({ length: 21 }, (_, n) => Math.floor(65536 / (n + 1.5)));

/** Contexts of a value: eight classes of size around it, and the sign before it: none, above or below. */
export const sizes = 8;
export const valueContexts = 4 * sizes;

/** What a size in 1/16 symbols is multiplied by, to become a class after a shift by 16. */
export const sizeFactor = (alphabet: number): number => Math.floor((2.4 * sizes * 4096) / alphabet);

/** A fifth in 1/65536: a share, until something is known of it. */
export const unknown = 13107;

const total = 2 ** frequencyBits;

/** The chance of a 1 in 1/4096, from 1 to 4095. */
export const chanceOf = (counter: number): number => counter >>> 20 || 1;

/** The class that a flag has by what was before it, in its column and in its row. */
export const flagContext = (before: number, column: number, row: number): number =>
  (before * classes + classOf[column >>> 5]!) * classes + classOf[row >>> 5]!;

/**
 * Decodes a matrix symbol by symbol. Where its zeros are is told by how many there were lately in the row and in the column, a value by the sign
 * before it and by how far from zero those in its row and its column were. All calls are written out in one loop, which makes it three
 * times as fast; `codeMatrix` is the other side.
 * @param tables frequencies of values @param uses which table each context of a value has [valueContexts]
 */
export function decodeMatrix(
  bytes: Uint8Array,
  out: Uint8Array,
  { alphabet, zero, flagged, period }: Layout,
  tables: readonly ArrayLike<number>[],
  uses: ArrayLike<number>,
): void {
  const flags = counters(flagContexts);
  const shares = new Uint16Array(period).fill(unknown);
  const columnSizes = new Uint16Array(period);
  const factor = sizeFactor(alphabet);
  // Of each table where spans of symbols begin, and the symbol at every 8th place, from which it is a step or two to the right one: tables
  // with a symbol for each place would take longer to make than to use, and do not fit into the processor's cache.
  const starts = new Uint16Array(tables.length * (alphabet + 1));
  const near = new Uint8Array(tables.length << 9);
  for (let t = 0, from = 0; t < tables.length; t++, from++) {
    let sum = 0;
    for (let symbol = 0; symbol < alphabet; symbol++) {
      const end = sum + tables[t]![symbol]!;
      if (end > sum) near.fill(symbol, (t << 9) + ((sum + 7) >> 3), (t << 9) + ((end + 7) >> 3));
      starts[++from] = sum = end;
    }
    if (sum !== total) damaged();
  }
  const words = wordsOf(bytes);
  let at = 4;
  // Signed, as all else here: mixed with unsigned ones they would be floats.
  let a = words[0]! | (words[1]! << 16);
  let b = words[2]! | (words[3]! << 16);
  const places = new Uint32Array(out.length + 1);
  let count = 0;
  if (flagged) {
    let share = unknown;
    let before = 0;
    let step = columnSteps[0]!;
    for (let i = 0, column = 0, row = 0; i < out.length; i++, column++) {
      if (column === period) {
        column = 0;
        if (row < 20) step = columnSteps[++row]!;
      }
      const seen = shares[column]!;
      const slot = flagContext(before, seen, share);
      const old = flags[slot]!;
      const chance = chanceOf(old);
      const place = a & (total - 1);
      before = place < chance ? 1 : 0;
      const state =
        (Math.imul(before ? chance : total - chance, a >>> frequencyBits) + place - (before ? 0 : chance)) | 0;
      a = b;
      b = state >>> 16 ? state : (state << 16) | words[at++]!;
      flags[slot] = learnt(old, before);
      const target = before * 65535;
      shares[column] = seen + (((target - seen) * step) >> 16);
      share += (target - share) >> 4;
      places[count] = i;
      count += before;
    }
    out.fill(zero);
  } else while (count < out.length) places[count] = count++;
  let size = 0;
  let sign = 0;
  for (let i = 0, row = 0; i < count; i++) {
    const index = places[i]!;
    while (index - row >= period) row += period;
    const above = columnSizes[index - row]!;
    const scaled = ((above === 0 ? size : (size + above) >> 1) * factor) >> 16;
    const table = uses[((scaled < sizes ? scaled : sizes - 1) << 2) | sign]!;
    const from = table * (alphabet + 1);
    const place = a & (total - 1);
    let k = from + near[(table << 9) | (place >> 3)]!;
    while (starts[k + 1]! <= place) k++;
    const start = starts[k]!;
    const state = (Math.imul(starts[k + 1]! - start, a >>> frequencyBits) + place - start) | 0;
    a = b;
    b = state >>> 16 ? state : (state << 16) | words[at++]!;
    const symbol = k - from;
    out[index] = symbol;
    sign = symbol > zero ? 1 : 2;
    const own = Math.abs(symbol - zero) << 4;
    size += (own - size) >> 3;
    columnSizes[index - row] = above === 0 ? own : above + ((own - above) >> 2);
  }
}
