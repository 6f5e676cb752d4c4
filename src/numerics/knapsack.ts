import { QtoolError } from '../util/error.ts';

const { max, min } = Math;
// A module constant: looking a global up in the innermost loop costs more than the loop's arithmetic.
const { MIN_VALUE, POSITIVE_INFINITY: INFINITY } = Number;

/** One way to treat an item (a layer at a width): what it costs and the damage it does. */
export interface Choice {
  readonly cost: number;
  readonly damage: number;
}

export interface KnapsackResult {
  /** Index of the choice taken for each item. */
  readonly chosen: number[];
  readonly cost: number;
  readonly damage: number;
}

/** Partial solutions of the first items, by rising cost and falling damage. */
interface Frontier {
  readonly cost: Float64Array;
  readonly damage: Float64Array;
  readonly parent: Int32Array;
  readonly choice: Int32Array;
}

/**
 * Multiple-choice knapsack, exactly: one choice for each item, least total damage with total cost ≤ budget; of equal damages the
 * cheaper. Items are added one by one to the list of partial solutions that no other one beats in both cost and damage. A
 * Lagrangian bound on what the remaining items must still add, against the best solution known from the same relaxation,
 * keeps that list short; costs and damages may be any non-negative numbers.
 *
 * @throws QtoolError `schedule` if even the cheapest choices exceed the budget, naming the least possible cost.
 */
export function knapsack(items: readonly (readonly Choice[])[], budget: number): KnapsackResult {
  const cheapest = items.map((choices) => min(...choices.map((c) => c.cost)));
  const least = cheapest.reduce((a, b) => a + b, 0);
  if (!(least <= budget)) {
    throw new QtoolError('schedule', `a budget of ${budget} cannot be met: the cheapest choices already cost ${least}`);
  }
  const lambda = multiplier(items, budget);
  // What items k … must add at least: to the cost, and to damage + λ·cost.
  const n = items.length;
  const restCost = new Float64Array(n + 1);
  const restPrice = new Float64Array(n + 1);
  for (let k = n - 1; k >= 0; k--) {
    restCost[k] = restCost[k + 1]! + cheapest[k]!;
    restPrice[k] = restPrice[k + 1]! + min(...items[k]!.map((c) => c.damage + lambda * c.cost));
  }
  const search = (bound: number, most: number): KnapsackResult | undefined => {
    // Sums in another order differ in their last digits; a solution as good as the known one must survive.
    const reach = bound * (1 + 1e-12) + MIN_VALUE;
    const rest = { lambda, bound: reach, limit: budget * (1 + 1e-12), budget };
    const frontiers: Frontier[] = [
      { cost: Float64Array.of(0), damage: Float64Array.of(0), parent: Int32Array.of(-1), choice: Int32Array.of(-1) },
    ];
    for (let k = 0; k < n; k++) {
      const from = frontiers[k]!;
      const left = { ...rest, cost: restCost[k + 1]!, price: restPrice[k + 1]! };
      frontiers.push(extend(from, items[k]!, left, most));
    }
    return traceBack(frontiers, items);
  };
  // A thinned search first: the better the known solution, the shorter the lists of the exact one.
  const quick = feasible(items, budget, lambda);
  const thinned = search(quick.damage, 300);
  const known = thinned !== undefined && thinned.damage < quick.damage && thinned.cost <= budget ? thinned : quick;
  return search(known.damage, INFINITY) ?? known;
}

interface Rest {
  readonly lambda: number;
  readonly bound: number;
  readonly limit: number;
  readonly budget: number;
  /** The least that the items to come add to the cost, and to damage + λ·cost. */
  readonly cost: number;
  readonly price: number;
}

/** Keeps about `most` partial solutions, evenly spread in cost; all that may be part of an optimum if it is infinite. */
function extend(from: Frontier, choices: readonly Choice[], rest: Rest, most: number): Frontier {
  const cost: number[] = [];
  const damage: number[] = [];
  const parent: number[] = [];
  const choice: number[] = [];
  // All lists "frontier + choice" are sorted by cost: merge them, keeping only what lowers the damage.
  const next = choices.map(() => 0);
  const size = from.cost.length;
  const spread = (from.cost[size - 1] ?? 0) - (from.cost[0] ?? 0) + max(...choices.map((c) => c.cost));
  const gap = spread / most;
  let lowest = INFINITY;
  for (;;) {
    let pick = -1;
    let c = INFINITY;
    let d = INFINITY;
    for (let i = 0; i < choices.length; i++) {
      const at = next[i]!;
      if (at >= size) continue;
      const option = choices[i]!;
      const ci = from.cost[at]! + option.cost;
      const di = from.damage[at]! + option.damage;
      if (ci < c || (ci === c && di < d)) [pick, c, d] = [i, ci, di];
    }
    if (pick < 0 || c + rest.cost > rest.limit) break;
    const at = next[pick]!;
    next[pick] = at + 1;
    if (d >= lowest || d + rest.price - rest.lambda * (rest.budget - c) > rest.bound) continue;
    if (gap > 0 && cost.length > 0 && c - cost.at(-1)! < gap) continue;
    lowest = d;
    cost.push(c);
    damage.push(d);
    parent.push(at);
    choice.push(pick);
  }
  return {
    cost: Float64Array.from(cost),
    damage: Float64Array.from(damage),
    parent: Int32Array.from(parent),
    choice: Int32Array.from(choice),
  };
}

function traceBack(frontiers: readonly Frontier[], items: readonly (readonly Choice[])[]): KnapsackResult | undefined {
  const last = frontiers.at(-1)!;
  let at = last.cost.length - 1; // the most expensive has the least damage
  if (at < 0) return undefined;
  const chosen = new Array<number>(items.length).fill(0);
  for (let k = items.length; k > 0; k--) {
    const { parent, choice } = frontiers[k]!;
    chosen[k - 1] = choice[at]!;
    at = parent[at]!;
  }
  return total(items, chosen);
}

function total(items: readonly (readonly Choice[])[], chosen: number[]): KnapsackResult {
  let cost = 0;
  let damage = 0;
  items.forEach((choices, k) => {
    const c = choices[chosen[k]!]!;
    cost += c.cost;
    damage += c.damage;
  });
  return { chosen, cost, damage };
}

/** For each item the choice of least damage + λ·cost; of equals the cheaper. */
function priced(items: readonly (readonly Choice[])[], lambda: number): KnapsackResult {
  const chosen = items.map((choices) => {
    let best = 0;
    choices.forEach((c, i) => {
      const b = choices[best]!;
      const difference = c.damage + lambda * c.cost - (b.damage + lambda * b.cost);
      if (difference < 0 || (difference === 0 && c.cost < b.cost)) best = i;
    });
    return best;
  });
  return total(items, chosen);
}

/** The price of a unit of cost at which buying for each item alone just keeps the budget. */
function multiplier(items: readonly (readonly Choice[])[], budget: number): number {
  if (priced(items, 0).cost <= budget) return 0;
  let lo = 0;
  let hi = 1;
  while (priced(items, hi).cost > budget && hi < 1e300) hi *= 4;
  for (let i = 0; i < 100; i++) {
    const middle = (lo + hi) / 2;
    if (priced(items, middle).cost > budget) lo = middle;
    else hi = middle;
  }
  return hi;
}

/** A solution within the budget: the priced one, then the best single exchanges while any fits. */
function feasible(items: readonly (readonly Choice[])[], budget: number, lambda: number): KnapsackResult {
  let { chosen, cost, damage } = priced(items, lambda);
  if (cost > budget) {
    chosen = items.map((choices) => choices.reduce((b, c, i) => (c.cost < choices[b]!.cost ? i : b), 0));
    ({ cost, damage } = total(items, chosen));
  }
  for (;;) {
    let best: readonly [number, number] | undefined;
    let gain = 0;
    items.forEach((choices, k) => {
      const now = choices[chosen[k]!]!;
      choices.forEach((c, i) => {
        if (cost - now.cost + c.cost <= budget && now.damage - c.damage > gain) {
          gain = now.damage - c.damage;
          best = [k, i];
        }
      });
    });
    if (best === undefined) return { chosen, cost, damage };
    const [k, i] = best;
    chosen[k] = i;
    ({ cost, damage } = total(items, chosen));
  }
}
