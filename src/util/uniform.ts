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
