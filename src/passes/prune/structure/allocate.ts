import { QtoolError } from '../../../util/error.ts';
import type { Cost } from './cost.ts';
import type { Elimination } from './order.ts';

/** A group whose channels may go in a known order at a known price. */
export interface Candidate extends Elimination {
  /** Atoms that must stay so that no axis is left empty. */
  readonly guarded: ReadonlySet<number>;
  /** How much the model's output suffers from one unit of damage here. */
  readonly weight: number;
}

/**
 * Chooses how many channels of each group go: step by step those whose damage is least for what they save, until the cost is
 * at most `budget`. Damage curves are replaced by their lower convex hull, on which taking the best next step is optimal
 * where savings add up. `multiple`: the channels kept of a group are a multiple of it, where the group has that many.
 * @throws QtoolError('schedule') where the budget cannot be met.
 */
export function allocate(candidates: readonly Candidate[], cost: Cost, budget: number, multiple = 1): Set<number> {
  const removed = new Set<number>();
  const plans = candidates.map((candidate) => planOf(candidate, multiple));
  const at = plans.map(() => 0);
  while (cost.total() > budget) {
    const next = plans.flatMap((steps, plan) => {
      const step = steps[at[plan]!];
      return step ? [{ plan, step, saved: cost.saving(step.atoms) }] : [];
    });
    // Once one step is enough, the least harmful of those that are; before, the least harm for what it saves.
    const enough = next.filter(({ saved }) => cost.total() - saved <= budget);
    const slope = ({ step, saved }: (typeof next)[number]): number => (saved > 0 ? step.damage / saved : Infinity);
    const cheapest = least(next, slope);
    const best = cheapest && enough.includes(cheapest) ? least(enough, ({ step }) => step.damage) : cheapest;
    if (!best)
      throw new QtoolError(
        'schedule',
        `the budget cannot be met: cutting all that can be cut leaves ${Math.round(cost.total())}, and it is ${Math.round(budget)}`,
        {
          hint: 'raise the budget, or let more layers be cut',
        },
      );
    best.step.atoms.forEach((atom) => removed.add(atom));
    cost.remove(best.step.atoms);
    at[best.plan] = at[best.plan]! + 1;
  }
  giveBack(plans, at, removed, cost, budget);
  return removed;
}

function least<T>(items: readonly T[], value: (item: T) => number): T | undefined {
  return items.reduce<T | undefined>((a, b) => (a !== undefined && value(a) <= value(b) ? a : b), undefined);
}

/** The last step may overshoot: steps are undone, the most harmful first, as long as the budget holds. */
function giveBack(
  plans: readonly (readonly Step[])[],
  at: number[],
  removed: Set<number>,
  cost: Cost,
  budget: number,
): void {
  const closed = new Set<number>();
  for (;;) {
    const ends = plans.flatMap((steps, i) => {
      const step = steps[at[i]! - 1];
      return step && !closed.has(i) ? [{ i, step }] : [];
    });
    const worst = ends.sort((a, b) => b.step.damage - a.step.damage)[0];
    if (!worst) return;
    cost.restore(worst.step.atoms);
    if (cost.total() > budget) {
      cost.remove(worst.step.atoms);
      closed.add(worst.i);
      continue;
    }
    worst.step.atoms.forEach((atom) => removed.delete(atom));
    at[worst.i] = at[worst.i]! - 1;
  }
}

interface Step {
  readonly atoms: readonly number[];
  readonly damage: number;
}

/** The steps of a group: atoms in order, with their share of the damage along the convex hull. */
function planOf({ order, damage, guarded, weight }: Candidate, multiple: number): Step[] {
  const free = order.filter((atom) => !guarded.has(atom));
  const hull = lowerHull(damage);
  const sizes: number[] = [];
  for (let left = order.length; left > guarded.size;) {
    const next = multiple > 1 ? Math.ceil(left / multiple - 1) * multiple : left - 1;
    if (next < Math.max(1, guarded.size)) break;
    sizes.push(left - next);
    left = next;
  }
  let from = 0;
  return sizes.map((size) => {
    const atoms = free.slice(from, from + size);
    const price = (hull[from + size]! - hull[from]!) * weight;
    from += size;
    return { atoms, damage: price };
  });
}

/** The greatest convex function below the points (i, y[i]), at every i. */
export function lowerHull(y: readonly number[]): number[] {
  const corners: number[] = [];
  y.forEach((value, i) => {
    while (corners.length > 1) {
      const [a, b] = [corners.at(-2) as number, corners.at(-1) as number];
      const straight = y[a]! + ((value - y[a]!) * (b - a)) / (i - a);
      if (y[b]! < straight) break;
      corners.pop();
    }
    corners.push(i);
  });
  const hull: number[] = [];
  corners.forEach((b, k) => {
    const a = corners[k - 1] ?? b;
    for (let i = a + 1; i < b; i++) hull.push(y[a]! + ((y[b]! - y[a]!) * (i - a)) / (b - a));
    hull.push(y[b]!);
  });
  return hull;
}

/** The weakest channels of a group, of which `left` stay, or as many more as make a multiple. */
export function cutTo(
  { order, guarded }: Pick<Candidate, 'order' | 'guarded'>,
  left: number,
  multiple: number,
): number[] {
  const keep = Math.max(1, Math.ceil(left / multiple) * multiple);
  return order.filter((atom) => !guarded.has(atom)).slice(0, Math.max(0, order.length - keep));
}

/** The same share of every group's channels, as small as meets the budget, in steps of 1/256. */
export function allocateUniform(
  candidates: readonly Candidate[],
  cost: Cost,
  budget: number,
  multiple = 1,
): Set<number> {
  const removed = new Set<number>();
  for (let share = 0; cost.total() > budget; share += 1 / 256) {
    if (share > 1)
      throw new QtoolError('schedule', 'the budget cannot be met by cutting every group alike', {
        hint: 'raise the budget, or let more layers be cut',
      });
    const more = candidates
      .flatMap((candidate) => cutTo(candidate, candidate.order.length * (1 - share), multiple))
      .filter((atom) => !removed.has(atom));
    more.forEach((atom) => removed.add(atom));
    cost.remove(more);
  }
  return removed;
}
