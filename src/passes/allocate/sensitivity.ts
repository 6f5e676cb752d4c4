import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import { knapsack, type Choice } from '../../numerics/knapsack.ts';
import { QtoolError } from '../../util/error.ts';
import type { Pass, PassContext, PassResult } from '../pass.ts';
import { damageMeasure, damageTable, mapOf, type DamageTable } from './damage.ts';
import type { PlannedLayer } from './layers.ts';
import {
  allocatorSelectors,
  budgetStrength,
  checkFormats,
  common,
  oneConstraint,
  oneConstraintMessage,
} from './options.ts';
import { counted, dB, planResult, prepareGround, type Ground } from './plan.ts';
import { withRounded, type RoundedLayer } from './rounded.ts';
import { rounderFor, type Rounder } from './rounder.ts';
import { spending } from './spend.ts';
import { bestWhole } from './wholes.ts';

const options = z
  .strictObject({
    ...common,
    damage: z.string().min(1).default('output').meta({
      description:
        "what a width costs: 'output' = the error of the outputs on calibration data, or a metric of the run",
    }),
  })
  .refine(oneConstraint, { message: oneConstraintMessage })
  .superRefine(checkFormats);

export type SensitivityOptions = z.infer<typeof options>;

/**
 * Measures what each layer alone at each width does to the outputs (or a metric), and picks widths for the budget exactly: a
 * multiple-choice knapsack. No slope, no model of the weights, no gradient; that damages add up is all that is assumed.
 */
export const sensitivityAllocator: Pass<SensitivityOptions> = {
  name: 'allocate/sensitivity',
  section: 'allocators',
  precedes: 'quantizers',
  classes: ['SensitivityAllocator'],
  summary: 'bits a layer by measured damage, solved exactly as a multiple-choice knapsack',
  source: 'integer programs of HAWQ-V3 (arXiv 2011.10680) with measured instead of Hessian damages',
  options,
  selectors: allocatorSelectors,
  strength: budgetStrength<SensitivityOptions>(),
  apply,
};

async function apply(model: Model, o: SensitivityOptions, ctx: PassContext): Promise<PassResult> {
  const ground = await prepareGround(model, o, ctx, true);
  const { layers } = ground;
  const spend = spending(ground, o);
  const round = kept(rounderFor(ctx, ground.float, o));
  const table = await damageTable(model, ground, o, round, ctx);
  const costs = layers.map((layer) => layer.widths.map((bits) => spend.of(layer, bits)));
  const chosen =
    spend.limit === undefined
      ? cheapest(table, costs, limitOf(o))
      : o.formats && o.damage === 'output'
        ? await bestWhole({ table, costs, limit: spend.limit, ...(await judged(ground, o, round, ctx)) })
        : knapsack(
            layers.map((_, i) => choices(costs[i] as number[], table.damage[i] as number[])),
            spend.limit,
          ).chosen;
  const bits = layers.map((layer, i) => layer.widths[chosen[i]!] as number);
  const damage = layers.reduce((sum, _, i) => sum + (table.damage[i]?.[chosen[i]!] ?? 0), 0);
  const cost = layers.reduce((sum, _, i) => sum + (costs[i]?.[chosen[i]!] ?? 0), 0);
  const result = await planResult(
    model,
    ground,
    bits,
    round,
    (layer, i) =>
      `${counted(layer)}; ${layer.widths
        .map(
          (w, k) =>
            `${w === bits[i] ? '▸' : ''}${layer.formats?.get(w)?.label ?? w}: ${table.text(table.damage[i]?.[k] ?? 0)}`,
        )
        .join(', ')}`,
    [`${spend.describe(cost)}; ${table.sum(damage)}`],
  );
  return { ...result, sensitivity: mapOf(table, ground) };
}

/** The same, each layer once at a width: plans have most of them in common. */
function kept(round: Rounder): Rounder {
  const known = new Map<PlannedLayer, Map<number, RoundedLayer>>();
  return async (layer, bits) => {
    const own = known.get(layer) ?? new Map<number, RoundedLayer>();
    known.set(layer, own);
    const found = own.get(bits) ?? (await round(layer, bits));
    own.set(bits, found);
    return found;
  };
}

/** Builds whole plans and measures what they do to the outputs. */
async function judged({ float, layers }: Ground, o: SensitivityOptions, round: Rounder, ctx: PassContext) {
  const measure = await damageMeasure(ctx, float, o.damage, o.samples);
  const build = async (chosen: readonly number[]): Promise<Model> => {
    const rounded = new Map<PlannedLayer, RoundedLayer>();
    for (const [i, layer] of layers.entries()) rounded.set(layer, await round(layer, layer.widths[chosen[i]!]!));
    return withRounded(float, rounded);
  };
  return { build, damage: measure.of };
}

const choices = (cost: readonly number[], damage: readonly number[]): Choice[] =>
  cost.map((c, k) => ({ cost: c, damage: Math.max(0, damage[k]!) }));

function limitOf(o: SensitivityOptions): number {
  if (o.target_sqnr === undefined) throw new QtoolError('schedule', oneConstraintMessage);
  if (o.damage !== 'output')
    throw new QtoolError('schedule', `a target_sqnr goes with damage: output, not with damage: ${o.damage}`);
  return 10 ** (-o.target_sqnr / 10);
}

/** The least cost whose damage is within a limit: the same knapsack with the two exchanged. */
function cheapest({ damage }: DamageTable, costs: readonly (readonly number[])[], limit: number): number[] {
  const least = damage.reduce((sum, list) => sum + Math.min(...list.map((d) => Math.max(0, d))), 0);
  if (least > limit)
    throw new QtoolError('schedule', `an SQNR of ${dB(limit)} cannot be reached: the widths allowed give ${dB(least)}`);
  return knapsack(
    costs.map((list, i) => choices(damage[i] as readonly number[], list)),
    limit,
  ).chosen;
}
