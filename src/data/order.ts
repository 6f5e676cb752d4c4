import { seedOf, uniform } from '../util/uniform.ts';

/** Indexes 0 to count − 1 in file order. */
export function inOrder(count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => i);
}

/** A seeded permutation of 0 to count − 1 (Fisher and Yates, from the end). */
export function shuffled(count: number, seed: number): Uint32Array {
  return mix(inOrder(count), uniform(seed));
}

/** Puts a list into another order, in place. */
export function mix<T extends Uint32Array | unknown[]>(list: T, next: () => number): T {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [list[i], list[j]] = [list[j]!, list[i]!];
  }
  return list;
}

/** Blocks whose samples come mixed with one another: as many as a reader holds at a time. */
export const blocksTogether = 2;

/**
 * Another order of these indexes for each seed. Where samples are read by blocks (`starts`: the first index of each, rising), the blocks
 * come in an order of chance, two at a time, and the samples of these two in one.
 */
export function epochOrder(indexes: Uint32Array, starts: readonly number[] | undefined, seed: number): Uint32Array {
  const order = indexes.slice();
  if (starts === undefined) return mix(order, uniform(seed));
  order.sort();
  const blocks: Uint32Array[] = [];
  for (let block = 0, from = 0; block < starts.length; block++) {
    let to = from;
    while (to < order.length && order[to]! < (starts[block + 1] ?? Infinity)) to++;
    if (to > from) blocks.push(order.slice(from, to));
    from = to;
  }
  mix(blocks, uniform(seed));
  for (let block = 0, at = 0; block < blocks.length; block += blocksTogether) {
    const from = at;
    for (const part of blocks.slice(block, block + blocksTogether)) {
      order.set(part, at);
      at += part.length;
    }
    mix(order.subarray(from, at), uniform(seedOf(seed, block)));
  }
  return order;
}

/** Orders dealt into one, each kept as it is, so that what comes next is fair of what is left. */
export function dealt(orders: readonly Uint32Array[], seed: number): Uint32Array {
  const places = orders.flatMap((order, part) => new Array<number>(order.length).fill(part));
  const at = orders.map(() => 0);
  return Uint32Array.from(mix(places, uniform(seed)), (part) => orders[part]![at[part]!++]!);
}
