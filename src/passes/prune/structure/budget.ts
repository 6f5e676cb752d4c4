import * as z from 'zod';
import type { PassContext } from '../../pass.ts';
import { unitName, type Unit } from './cost.ts';

const share = z.number().gt(0).max(1);

/** The share of one unit that may stay. */
export const budget = z
  .union([
    z.strictObject({ macs: share }),
    z.strictObject({ parameters: share }),
    z.strictObject({ bytes: share }),
    z.strictObject({ energy: share }),
  ])
  .meta({ description: 'the share of multiply-accumulates, parameters, bytes or estimated energy that may stay' });

export type Budget = z.infer<typeof budget>;

export const budgetOf = (given: Budget): [Unit, number] => Object.entries(given)[0] as [Unit, number];

/** A budget that cuts only a share `t` of what the given one does. */
export function scaledBudget(given: Budget, t: number): Budget {
  const [unit, left] = budgetOf(given);
  return { [unit]: 1 - (1 - left) * t } as Budget;
}

export function budgetText(given: Budget): string {
  const [unit, left] = budgetOf(given);
  return `${(100 * left).toFixed(1)} % of the ${unitName(unit)}`;
}

/** The cost that budgets are shares of: that of the model this instance saw first. */
export function firstCost(ctx: PassContext, unit: Unit, now: number): number {
  const known = ctx.memory.get(`cost:${unit}`);
  if (typeof known === 'number') return known;
  ctx.memory.set(`cost:${unit}`, now);
  return now;
}
