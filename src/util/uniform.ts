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

/**
 * One seed for several whole numbers, each of which changes it altogether: the seed of a run, an epoch, a sample. Source: MurmurHash3
 * (A. Appleby, public domain), the form of 32 bits.
 */
export function seedOf(...parts: readonly number[]): number {
  let hash = 0;
  for (const part of parts) {
    const k = Math.imul(part, 0xcc9e2d51);
    hash ^= Math.imul((k << 15) | (k >>> 17), 0x1b873593);
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  hash ^= parts.length * 4;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
