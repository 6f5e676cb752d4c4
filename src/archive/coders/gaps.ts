import { damaged } from '../damaged.ts';
import type { Symbols } from './symbols.ts';

/**
 * Relative positions (Han, Mao and Dally 2016, figure 2): for each symbol that is not zero how many zeros stand before it. Where more do than a
 * gap of `width` bits can say, a zero is an entry too.
 */
export function encodeGaps(symbols: Symbols, zero: number, width: number): { gaps: Uint8Array; values: Symbols } {
  const longest = 2 ** width - 1;
  const gaps: number[] = [];
  const values: number[] = [];
  let gap = 0;
  for (let i = 0; i < symbols.length; i++) {
    if (symbols[i] === zero && gap < longest) gap++;
    else {
      gaps.push(gap);
      values.push(symbols[i]!);
      gap = 0;
    }
  }
  return { gaps: Uint8Array.from(gaps), values: symbols instanceof Uint8Array ? Uint8Array.from(values) : Uint16Array.from(values) }; // prettier-ignore
}

/** The other way. @param out filled with zeros of the stream */
export function decodeGaps(gaps: Symbols, values: Symbols, out: Symbols): void {
  let at = 0;
  for (let k = 0; k < gaps.length; k++) {
    at += gaps[k]!;
    if (at >= out.length) damaged();
    out[at++] = values[k]!;
  }
}
