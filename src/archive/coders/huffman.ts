import { damaged } from '../damaged.ts';
import type { Symbols } from './symbols.ts';

/** Symbols that occur, in the order of the canonical code: shorter codes first, in the order of symbols within a length. */
const inOrder = (lengths: ArrayLike<number>): number[] =>
  Array.from(lengths, (_, symbol) => symbol)
    .filter((symbol) => lengths[symbol])
    .sort((a, b) => lengths[a]! - lengths[b]! || a - b);

/**
 * Decodes a canonical Huffman code (Schwartz and Kallick 1964), the highest bit of each byte first, by one look-up a symbol.
 * @param lengths bits of each symbol's code; 0 for those that do not occur. One that occurs alone takes no bits.
 */
export function decodeHuffman(bytes: Uint8Array, lengths: ArrayLike<number>, out: Symbols): void {
  const order = inOrder(lengths);
  if (order.length < 2) {
    out.fill(order[0] ?? 0);
    return;
  }
  const width = lengths[order.at(-1)!]!;
  const table = new Int32Array(width > longestCode ? damaged() : 2 ** width);
  let end = 0;
  for (const symbol of order)
    table.fill((symbol << 4) | lengths[symbol]!, end, (end += 2 ** (width - lengths[symbol]!)));
  const mask = table.length - 1;
  if (end !== table.length) damaged();
  const padded = new Uint8Array(bytes.length + 4);
  padded.set(bytes);
  let held = 0;
  let count = 0;
  let at = 0;
  for (let i = 0; i < out.length; i++) {
    if (count < width) {
      held = (held << 16) | (padded[at]! << 8) | padded[at + 1]!;
      at += 2;
      count += 16;
    }
    const entry = table[(held >>> (count - width)) & mask]!;
    out[i] = entry >>> 4;
    count -= entry & 15;
  }
}

/** No code is longer, so that one table look-up decodes a symbol. */
const longestCode = 15;

/**
 * Lengths in bits of a Huffman code (Huffman 1952), none longer than 15: where the best code has a longer one, rare symbols are counted more
 * often until it has not. Symbols that do not occur have length 0; one that occurs alone takes no bits and has length 1.
 */
export function codeLengths(counts: ArrayLike<number>): Uint8Array {
  for (let least = 0; ; least = Math.max(1, 2 * least)) {
    const lengths = lengthsOf(counts, least);
    if (lengths.every((length) => length <= longestCode)) return lengths;
  }
}

function lengthsOf(counts: ArrayLike<number>, least: number): Uint8Array {
  const lengths = new Uint8Array(counts.length);
  const leaves = Array.from(counts, (count, symbol) => ({ count: Math.max(count, least), symbol, seen: count > 0 }))
    .filter(({ seen }) => seen)
    .sort((a, b) => a.count - b.count || a.symbol - b.symbol);
  if (leaves.length === 1) lengths[leaves[0]!.symbol] = 1;
  if (leaves.length < 2) return lengths;
  // Two queues, both in order: leaves, and inner nodes as they are made.
  const weights = leaves.map(({ count }) => count);
  const parents: number[] = [];
  let leaf = 0;
  let inner = leaves.length;
  const smallest = (): number => {
    const takeLeaf = leaf < leaves.length && !(inner < weights.length && weights[inner]! < weights[leaf]!);
    return takeLeaf ? leaf++ : inner++;
  };
  while (weights.length < 2 * leaves.length - 1) {
    const [a, b] = [smallest(), smallest()];
    parents[a] = parents[b] = weights.length;
    weights.push(weights[a]! + weights[b]!);
  }
  const depths = new Uint8Array(weights.length);
  for (let node = weights.length - 2; node >= 0; node--) depths[node] = Math.min(255, depths[parents[node]!]! + 1);
  for (const [i, { symbol }] of leaves.entries()) lengths[symbol] = depths[i]!;
  return lengths;
}

/** Codes, the highest bit of each byte first. */
export function encodeHuffman(symbols: Symbols, lengths: Uint8Array): Uint8Array {
  const order = inOrder(lengths);
  if (order.length < 2) return new Uint8Array(0);
  const codes = new Uint16Array(lengths.length);
  let code = 0;
  let width = 0;
  for (const symbol of order) {
    code <<= lengths[symbol]! - width;
    width = lengths[symbol]!;
    codes[symbol] = code++;
  }
  let bits = 0;
  for (let i = 0; i < symbols.length; i++) bits += lengths[symbols[i]!]!;
  const out = new Uint8Array(Math.ceil(bits / 8));
  let held = 0;
  let count = 0;
  let at = 0;
  for (let i = 0; i < symbols.length; i++) {
    const symbol = symbols[i]!;
    held = ((held << lengths[symbol]!) | codes[symbol]!) & 0x7fffff;
    count += lengths[symbol]!;
    for (; count >= 8; count -= 8) out[at++] = held >>> (count - 8);
  }
  if (count > 0) out[at] = held << (8 - count);
  return out;
}
