import { counters, learnt } from './bits.ts';
import {
  chanceOf,
  columnSteps,
  flagContext,
  flagContexts,
  sizeFactor,
  sizes,
  unknown,
  type Layout,
} from './coders/matrix.ts';
import { encodeSpans, frequencyBits, startsOf } from './coders/rans.ts';

/** What is told of each place of a matrix: whether something else than zero is there, and what. */
export interface Places {
  flag(context: number, bit: number): void;
  value(context: number, symbol: number): void;
}

/** Goes through a matrix as `decodeMatrix` does. */
export function codeMatrix(places: Places, symbols: Uint8Array, { alphabet, zero, flagged, period }: Layout): void {
  const shares = new Uint16Array(period).fill(unknown);
  const columnSizes = new Uint16Array(period);
  const factor = sizeFactor(alphabet);
  let share = unknown;
  let size = 0;
  let before = 0;
  let sign = 0;
  for (let i = 0, column = 0, row = 0; i < symbols.length; i++, column++) {
    if (column === period) {
      column = 0;
      if (row < 20) row++;
    }
    const symbol = symbols[i]!;
    if (flagged) {
      const seen = shares[column]!;
      const bit = symbol === zero ? 0 : 1;
      places.flag(flagContext(before, seen, share), bit);
      before = bit;
      const target = bit * 65535;
      shares[column] = seen + (((target - seen) * columnSteps[row]!) >> 16);
      share += (target - share) >> 4;
      if (bit === 0) continue;
    }
    const above = columnSizes[column]!;
    const scaled = ((above === 0 ? size : (size + above) >> 1) * factor) >> 16;
    places.value((Math.min(scaled, sizes - 1) << 2) | sign, symbol);
    sign = symbol > zero ? 1 : 2;
    const own = Math.abs(symbol - zero) << 4;
    size += (own - size) >> 3;
    columnSizes[column] = above === 0 ? own : above + ((own - above) >> 2);
  }
}

/** Codes flags by what was seen in their context, values by the table of theirs. */
export function encodeMatrix(
  symbols: Uint8Array,
  layout: Layout,
  tables: readonly Uint16Array[],
  uses: ArrayLike<number>,
): Uint8Array {
  const flags = counters(flagContexts);
  const found = tables.map((lengths) => ({ lengths, starts: startsOf(lengths) }));
  const used = Array.from(uses, (table) => found[table]!);
  // All flags, then all values; they are known from the first on and coded from the last on.
  const spans = [0, 1].map(() => ({ starts: new Uint16Array(symbols.length), lengths: new Uint16Array(symbols.length), count: 0 })); // prettier-ignore
  const [flagSpans, valueSpans] = spans as [(typeof spans)[0], (typeof spans)[0]];
  const put = (to: (typeof spans)[0], start: number, length: number): void => {
    to.starts[to.count] = start;
    to.lengths[to.count++] = length;
  };
  codeMatrix(
    {
      flag(context, bit) {
        const chance = chanceOf(flags[context]!);
        if (bit) put(flagSpans, 0, chance);
        else put(flagSpans, chance, 2 ** frequencyBits - chance);
        flags[context] = learnt(flags[context]!, bit);
      },
      value: (context, symbol) => put(valueSpans, used[context]!.starts[symbol]!, used[context]!.lengths[symbol]!),
    },
    symbols,
    layout,
  );
  const of = (part: 'starts' | 'lengths') => (i: number) =>
    i < flagSpans.count ? flagSpans[part][i]! : valueSpans[part][i - flagSpans.count]!;
  return encodeSpans(flagSpans.count + valueSpans.count, of('starts'), of('lengths'), frequencyBits);
}
