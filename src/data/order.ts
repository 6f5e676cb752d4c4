/**
 * Uniform numbers in [0, 1), the same for the same seed on every machine. Source: mulberry32 (T. Ettinger, public domain): a
 * counter in steps of 0x6D2B79F5, mixed by two multiplications.
 */
export function uniform(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

/** Indexes 0 to count − 1 in file order. */
export function inOrder(count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => i);
}

/** A seeded permutation of 0 to count − 1 (Fisher and Yates, from the end). */
export function shuffled(count: number, seed: number): Uint32Array {
  const order = inOrder(count);
  const next = uniform(seed);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}
