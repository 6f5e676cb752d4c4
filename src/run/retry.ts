import type { Strength } from '../passes/pass.ts';
import { given } from '../util/must.ts';
import { leastThatHolds } from './trial.ts';

/** How often a continuous strength is halved: 6 trials find it to 1/64 of what was asked. */
const trials = 6;

/** One trial of a weaker setting: whether the gate held with it. */
export type Trial<O> = (options: O) => Promise<boolean>;

/**
 * Finds the strongest setting of a pass whose gate holds, after the full strength has failed. A continuous strength is
 * bisected; a discrete one (bits) is searched by halves over its levels. Damage is taken to grow with strength.
 * @returns the options that passed, or undefined where even the weakest fails.
 */
export async function weaken<O>(strength: Strength<O>, options: O, trial: Trial<O>): Promise<O | undefined> {
  const levels = strength.levels?.(options);
  if (levels) {
    // Strongest first; the first of them is what failed.
    const at = (i: number): O => strength.at(options, given(levels[i], 'a level'));
    const found = await leastThatHolds(1, levels.length - 1, (i) => trial(at(i)));
    return found === undefined ? undefined : at(found);
  }
  let [low, high] = [0, 1];
  let best: O | undefined;
  for (let i = 0; i < trials; i++) {
    const middle = (low + high) / 2;
    const candidate = strength.at(options, middle);
    if (await trial(candidate)) {
      best = candidate;
      low = middle;
    } else high = middle;
  }
  return best;
}
