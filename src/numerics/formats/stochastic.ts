import { uniform } from '../../util/uniform.ts';
import type { Grid } from '../grid.ts';

/**
 * Codes rounded up with the probability (x − level below) / step, else down: right on average (Gupta et al. 2015). What is a level stays; beyond the ends
 * it saturates. The same seed and group give the same codes.
 */
export function stochasticCodes(values: Float32Array, { levels }: Grid, seed: number, group: number): Uint16Array {
  const next = uniform(Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(group + 1, 0x85ebca77));
  const last = levels.length - 1;
  return Uint16Array.from(values, (x) => {
    const chance = next();
    if (!(x > levels[0]!)) return 0;
    if (x >= levels[last]!) return last;
    let [below, above] = [0, last];
    while (above - below > 1) {
      const middle = (below + above) >> 1;
      if (levels[middle]! <= x) below = middle;
      else above = middle;
    }
    return chance < (x - levels[below]!) / (levels[above]! - levels[below]!) ? above : below;
  });
}
