import type { PassContext } from '../../pass.ts';
import { seedOf } from '../../../util/uniform.ts';
import type { StructureSite } from './structures.ts';

/** A score at random for each of a weight's structures. */
export const randomScores = async ({ count, layer }: StructureSite, { seed }: { readonly seed: number }) =>
  Array.from({ length: count }, seeded(seed + layer.index));

/** As `randomScores`; drawn anew at each step of training where what is dropped comes back. */
export const drawnScores = async (site: StructureSite, { seed }: { readonly seed: number }, { lesson }: PassContext) =>
  lesson?.passing === true
    ? Array.from({ length: site.count }, seeded(seedOf(seed, site.layer.index, lesson.step)))
    : randomScores(site, { seed });

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
