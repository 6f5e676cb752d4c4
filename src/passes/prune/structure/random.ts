import type { StructureSite } from './structures.ts';

/** A score at random for each of a weight's structures. */
export const randomScores = async ({ count, layer }: StructureSite, { seed }: { readonly seed: number }) =>
  Array.from({ length: count }, seeded(seed + layer.index));

/** Numbers in [0, 1) from a seed (xorshift32, Marsaglia 2003). */
export function seeded(seed: number): () => number {
  let state = (seed * 2654435761 + 1) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 4294967296;
  };
}
