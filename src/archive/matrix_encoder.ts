import { adaptiveBit, counters } from './bits.ts';
import { columnSteps, flagContext, flagContexts, sizeFactor, sizes, unknown, type Layout } from './coders/matrix.ts';
import type { Encoder, Frequencies } from './encoder.ts';

/** What is told of each place of a matrix: whether something else than zero is there, and what. */
export interface Places {
  flag(context: number, bit: number): void;
  value(context: number, symbol: number): void;
}

/** Goes through a matrix as `decodeMatrix` does. */
export function codeMatrix(places: Places, symbols: Uint8Array, { alphabet, zero, flagged, period }: Layout): void {
  const shares = new Uint16Array(period).fill(unknown);
  const rows = new Uint8Array(period);
  const columnSizes = new Uint16Array(period);
  const factor = sizeFactor(alphabet);
  let share = unknown;
  let size = 0;
  let before = 0;
  let sign = 0;
  for (let i = 0, column = 0; i < symbols.length; i++, column++) {
    if (column === period) column = 0;
    const symbol = symbols[i]!;
    if (flagged) {
      const seen = shares[column]!;
      const bit = symbol === zero ? 0 : 1;
      places.flag(flagContext(before, seen, share), bit);
      before = bit;
      const target = bit * 65535;
      shares[column] = seen + (((target - seen) * columnSteps[rows[column]!]!) >> 16);
      if (rows[column]! < 20) rows[column]!++;
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
export function placeCoder(bits: Encoder, tables: readonly Frequencies[], uses: Uint8Array): Places {
  const flags = counters(flagContexts);
  const used = Array.from(uses, (table) => tables[table]!);
  return {
    flag: (context, bit) => void adaptiveBit(bits, flags, context, bit),
    value: (context, symbol) => bits.symbol(used[context]!, symbol),
  };
}
