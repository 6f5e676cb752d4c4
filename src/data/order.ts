import { uniform } from '../util/uniform.ts';

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
