import type { Steps } from '../../../util/steps.ts';
import { blockCost, takeBlock, type Problem } from './eliminate.ts';
import type { SiteProblem } from './problems.ts';

/** One reader of a group's channels, while columns are taken from it. */
export interface Reader extends SiteProblem {
  /** Σ‖y − mean‖² over all its outputs. */
  readonly power: number;
  /** Columns of each atom. */
  readonly blocks: ReadonlyMap<number, readonly number[]>;
}

/** In what order the channels of a group go, weakest first, and what is lost by then (share of the readers' output power). */
export interface Elimination {
  readonly order: readonly number[];
  /** damage[k] = after k channels; damage[0] = 0. */
  readonly damage: readonly number[];
}

/** A reader with a problem of its own to take columns from: several groups may share the layer (Concat). */
export function readerOf({ site, problems, means }: SiteProblem, atoms: ReadonlySet<number>): Reader {
  const blocks = new Map<number, number[]>();
  site.columns.forEach((atom, k) => {
    if (!atoms.has(atom)) return;
    const block = blocks.get(atom);
    if (block) block.push(k);
    else blocks.set(atom, [k]);
  });
  const own = problems.map((p): Problem => ({ ...p, weights: p.weights.slice(), inverse: p.inverse.slice() }));
  return { site, problems: own, means, power: own.reduce((sum, p) => sum + p.power, 0), blocks };
}

/** What the readers lose when a channel goes now. */
function channelCost(readers: readonly Reader[], atom: number): number {
  let cost = 0;
  for (const { problems, blocks, power } of readers) {
    const block = blocks.get(atom);
    if (block) for (const problem of problems) cost += blockCost(problem, block) / power;
  }
  return cost;
}

/**
 * Takes channels away one by one, always the one that costs least (`given` undefined) or in a given order, the readers being
 * refitted after each. `at` is called after each, for a look at the readers on the way.
 */
export function* eliminate(
  atoms: readonly number[],
  readers: readonly Reader[],
  given: readonly number[] | undefined,
  at: (count: number, damage: number) => void = () => undefined,
): Steps<Elimination> {
  const left = new Set(atoms);
  const order: number[] = [];
  const damage = [0];
  let total = 0;
  while (left.size > 0) {
    const next = given?.[order.length] ?? weakest(left, readers);
    total += channelCost(readers, next);
    for (const { problems, blocks } of readers) {
      const block = blocks.get(next);
      if (block) problems.forEach((problem) => takeBlock(problem, block));
    }
    left.delete(next);
    order.push(next);
    damage.push(total);
    at(order.length, total);
    yield order.length / atoms.length;
  }
  return { order, damage };
}

function weakest(left: ReadonlySet<number>, readers: readonly Reader[]): number {
  let best = -1;
  let least = Infinity;
  for (const atom of left) {
    const cost = channelCost(readers, atom);
    if (cost < least || best < 0) [best, least] = [atom, cost];
  }
  return best;
}
