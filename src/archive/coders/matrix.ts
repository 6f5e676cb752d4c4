import { counters, learnt } from '../bits.ts';
import { frequencyBits, spansOf } from './rans.ts';

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
  const rows = new Uint8Array(period);
  const columnSizes = new Uint16Array(period);
  const factor = sizeFactor(alphabet);
  const found = tables.map((table) => spansOf(table, frequencyBits));
  const symbols = new Uint8Array(tables.length << frequencyBits);
  const spans = new Uint32Array(symbols.length);
  for (let t = 0; t < found.length; t++) {
    symbols.set(found[t]!.symbols, t << frequencyBits);
    spans.set(found[t]!.spans, t << frequencyBits);
  }
  const bases = Int32Array.from(uses, (table) => table << frequencyBits);
  let range = 1;
  let code = 0;
  let at = 0;
  let share = unknown;
  let size = 0;
  let before = 0;
  let sign = 0;
  for (let i = 0, column = 0; i < out.length; i++, column++) {
    if (column === period) column = 0;
    if (flagged) {
      while (range < 0x1000000) {
        code = ((code << 8) | (at < bytes.length ? bytes[at]! : 0)) >>> 0;
        at++;
        range = (range << 8) >>> 0;
      }
      const seen = shares[column]!;
      const slot = flagContext(before, seen, share);
      const old = flags[slot]!;
      const bound = Math.imul(range >>> 16, (old >>> 16) | 1) >>> 0;
      const row = rows[column]!;
      if (row < 20) rows[column] = row + 1;
      before = code < bound ? 1 : 0;
      if (before) range = bound;
      else {
        range = (range - bound) >>> 0;
        code = (code - bound) >>> 0;
      }
      flags[slot] = learnt(old, before);
      const target = before * 65535;
      shares[column] = seen + (((target - seen) * columnSteps[row]!) >> 16);
      share += (target - share) >> 4;
    }
    if (before === 0 && flagged) out[i] = zero;
    else {
      while (range < 0x1000000) {
        code = ((code << 8) | (at < bytes.length ? bytes[at]! : 0)) >>> 0;
        at++;
        range = (range << 8) >>> 0;
      }
      const above = columnSizes[column]!;
      const scaled = ((above === 0 ? size : (size + above) >> 1) * factor) >> 16;
      const unit = range >>> frequencyBits;
      let place = (code / unit) | 0;
      place = bases[((scaled < sizes ? scaled : sizes - 1) << 2) | sign]! | (place > 4095 ? 4095 : place);
      const symbol = symbols[place]!;
      const span = spans[place]!;
      code = (code - Math.imul(unit, (place & 4095) - (span & 0xffff))) >>> 0;
      range = Math.imul(unit, span >>> 16) >>> 0;
      out[i] = symbol;
      sign = symbol > zero ? 1 : 2;
      const own = Math.abs(symbol - zero) << 4;
      size += (own - size) >> 3;
      columnSizes[column] = above === 0 ? own : above + ((own - above) >> 2);
    }
  }
}
