import fc from '../../../helpers/fc.ts';
import {
  allocate,
  allocateUniform,
  lowerHull,
  type Candidate,
} from '../../../../src/passes/prune/structure/allocate.ts';
import type { Cost } from '../../../../src/passes/prune/structure/cost.ts';

/** Every atom saves what its price says. */
function priced(prices: ReadonlyMap<number, number>): Cost {
  let total = [...prices.values()].reduce((a, b) => a + b, 0);
  const sum = (atoms: Iterable<number>): number => [...atoms].reduce((s, a) => s + (prices.get(a) as number), 0);
  return {
    total: () => total,
    saving: sum,
    remove: (atoms) => void (total -= sum(atoms)),
    restore: (atoms) => void (total += sum(atoms)),
  };
}

const candidate = (order: number[], damage: number[], weight = 1): Candidate => ({
  order,
  damage: [0, ...damage],
  guarded: new Set([order.at(-1) as number]),
  weight,
});

describe('lowerHull', () => {
  it('is the greatest convex function below the points', () => {
    expect(lowerHull([0, 4, 1, 5, 6])).toEqual([0, 0.5, 1, 3.5, 6]);
    expect(lowerHull([0, 1, 4, 9])).toEqual([0, 1, 4, 9]);
    expect(lowerHull([0, 5, 6, 7])).toEqual([0, 7 / 3, 14 / 3, 7].map((v) => expect.closeTo(v, 12) as number));
  });
});

describe('allocate', () => {
  it('takes the cheapest damage a unit saved first, wherever it is', () => {
    const candidates = [candidate([0, 1, 2], [1, 3, 9]), candidate([3, 4, 5], [1.5, 3.4, 9])];
    const cost = priced(new Map([0, 1, 2, 3, 4, 5].map((a) => [a, a < 3 ? 1 : 2])));
    // Damage a unit: 1, 2 in the first; 0.75, 0.95 in the second. Of 9 units 4 may go.
    expect([...allocate(candidates, cost, 5)].sort()).toEqual([3, 4]);
  });

  it('weighs damage and keeps multiples', () => {
    const four = (from: number, weight: number) =>
      candidate(
        [0, 1, 2, 3].map((i) => from + i),
        [1, 2, 3, 4],
        weight,
      );
    const cost = () => priced(new Map(Array.from({ length: 8 }, (_, a) => [a, 1])));
    expect([...allocate([four(0, 10), four(4, 1)], cost(), 5)]).toEqual([4, 5, 6]);
    expect([...allocate([four(0, 10), four(4, 1)], cost(), 6, 2)]).toEqual([4, 5]);
  });

  it('is within one step of the best choice where savings add up', () => {
    const curve = fc.array(fc.double({ min: 0.01, max: 1, noNaN: true }), { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(
        fc.array(curve, { minLength: 2, maxLength: 3 }),
        fc.double({ min: 0.3, max: 0.9, noNaN: true }),
        (curves, share) => {
          const sorted = curves.map((steps) => [...steps].sort((a, b) => a - b));
          const damages = sorted.map((steps) =>
            steps.reduce<number[]>((sums, s) => [...sums, (sums.at(-1) ?? 0) + s], []),
          );
          const candidates = damages.map((damage, g) =>
            candidate(
              [0, 1, 2, 3].map((i) => 4 * g + i),
              damage,
            ),
          );
          const total = 4 * curves.length;
          const budget = Math.max(share * total, curves.length);
          const removed = allocate(
            candidates,
            priced(new Map(Array.from({ length: total }, (_, a) => [a, 1]))),
            budget,
          );
          const damageOf = (counts: readonly number[]): number =>
            counts.reduce((sum, n, g) => sum + (n === 0 ? 0 : (damages[g]?.[n - 1] as number)), 0);
          const mine = candidates.map(({ order }) => order.filter((atom) => removed.has(atom)).length);
          // Brute force over all counts; one atom a group stays.
          let best = Infinity;
          const all = (counts: number[]): void => {
            if (counts.length < curves.length) [0, 1, 2, 3].forEach((n) => all([...counts, n]));
            else if (total - counts.reduce((a, b) => a + b, 0) <= budget) best = Math.min(best, damageOf(counts));
          };
          all([]);
          // Equal savings and convex curves: greedy is optimal.
          expect(damageOf(mine)).toBeCloseTo(best, 9);
        },
      ),
      { numRuns: 100, seed: 3 },
    );
  });

  it('refuses what cannot be met', () => {
    const cost = () =>
      priced(
        new Map([
          [0, 1],
          [1, 1],
          [2, 1],
        ]),
      );
    expect(() => allocate([candidate([0, 1, 2], [1, 2, 3])], cost(), 0.5)).toThrow('the budget cannot be met');
    expect(() => allocateUniform([candidate([0, 1, 2], [1, 2, 3])], cost(), 0.5)).toThrow(
      'by cutting every group alike',
    );
  });
});
