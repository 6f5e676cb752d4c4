import type { Model } from '../../graph/model.ts';
import { knapsack } from '../../numerics/knapsack.ts';
import { given } from '../../util/must.ts';
import type { DamageTable } from './damage.ts';

/** Times that the error along the outputs is guessed anew. */
const turns = 6;

export interface Wholes {
  readonly table: DamageTable;
  readonly costs: readonly (readonly number[])[];
  readonly limit: number;
  /** The model with every layer at its choice. */
  readonly build: (chosen: readonly number[]) => Promise<Model>;
  /** Its damage. */
  readonly damage: (model: Model) => Promise<number>;
}

/**
 * The best of some plans within a limit, by the measured whole. Errors across the outputs add up as powers, those along them as amplitudes, (Σ a)²
 * (docs/passes/allocate.md, Shrinking): beside layers whose errors along are A together, one of noise n that has a² along adds n + 2·A·a. A is that of
 * the plan before, halfway, nothing at first; each plan is the exact optimum for its A.
 */
export async function bestWhole({ table, costs, limit, build, damage }: Wholes): Promise<number[]> {
  const plans = new Map<string, number[]>();
  const alongOf = (i: number, k: number): number => table.along[i]?.[k] ?? 0;
  let along = table.damage.map(() => 0);
  for (let turn = 0; turn < turns; turn++) {
    const all = along.reduce((sum, a) => sum + a, 0);
    const items = table.damage.map((row, i) =>
      row.map((noise, k) => ({
        cost: costs[i]![k]!,
        damage: Math.max(0, noise + 2 * (all - along[i]!) * alongOf(i, k)),
      })),
    );
    const { chosen } = knapsack(items, limit);
    plans.set(chosen.join(), chosen);
    along = chosen.map((k, i) => (turn === 0 ? alongOf(i, k) : (along[i]! + alongOf(i, k)) / 2));
  }
  let [best, least]: [number[] | undefined, number] = [undefined, Infinity];
  for (const chosen of plans.values()) {
    const found = plans.size === 1 ? 0 : await damage(await build(chosen));
    if (best === undefined || found < least) [best, least] = [chosen, found];
  }
  return given(best, 'a plan');
}
