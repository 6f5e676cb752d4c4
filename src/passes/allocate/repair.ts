import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import { QtoolError } from '../../util/error.ts';
import { prepare } from '../fold/prepare.ts';
import type { Note, Pass, PassContext, PassResult, Plan } from '../pass.ts';
import { damageMeasure } from './damage.ts';
import { exchange, spent, type Exchange, type ExchangeItem } from './exchange.ts';
import { plannedLayers, type PlannedLayer } from './layers.ts';
import { allocatorSelectors, staticOptions, withStatic } from './options.ts';
import { dB, planOf } from './plan.ts';
import { heldForKernel, requantized } from './requantize.ts';
import { withRounded, type RoundedLayer } from './rounded.ts';
import { rounderFor } from './rounder.ts';

const options = z.strictObject({
  metric: z.string().min(1).default('output').meta({
    description:
      "what must become better: 'output' = the error of the outputs on calibration data, or a metric of the run",
  }),
  seconds: z.number().positive().default(120).meta({ description: 'time it may take' }),
  ...staticOptions,
});

export type RepairOptions = z.infer<typeof options>;

/**
 * Greedy repair of a plan by any allocator: takes a bit from one layer and gives what that frees to others, as long as the
 * whole model, all layers rounded at once, becomes better by the real measure. Begins with one width for all where that is
 * better for the same bits. Never spends more bits than the plan did. After a
 * quantizer it works on the quantized model and stores the layers it changes anew.
 */
export const repairAllocator: Pass<RepairOptions> = {
  name: 'allocate/repair',
  section: 'allocators',
  follows: 'allocators',
  classes: ['RepairAllocator'],
  summary: 'exchanges bits between layers while the measured whole becomes better, within a time budget',
  source: 'greedy exchange; no paper',
  options,
  selectors: (o) => allocatorSelectors(withStatic(o)),
  apply,
};

async function apply(model: Model, o: RepairOptions, ctx: PassContext): Promise<PassResult> {
  if (ctx.plan.size === 0)
    throw new QtoolError('schedule', 'there is no plan to repair', { hint: 'put this after an allocator' });
  const { twin } = ctx;
  const float = twin ?? (await prepare(model, ctx)).model;
  const coded = [...ctx.plan.values()].some(({ weights }) => weights?.kind === 'coded');
  const scales = coded ? 'coded' : o.scales;
  const { layers, skipped } = plannedLayers(float, await ctx.shapes(float), withStatic({ ...o, scales }));
  // What a schedule's overrides have left in float, or hold in another form, has no width to exchange.
  const held = twin ? heldForKernel(model) : () => true;
  const known = layers.filter((layer) => plannedBits(ctx.plan, layer) !== undefined && held(layer));
  const start = known.map((layer) => plannedBits(ctx.plan, layer) as number);
  const measure = await damageMeasure(ctx, float, o.metric, o.samples);
  const round = rounderFor(ctx, float, { ...o, scales });
  const cache = new Map<string, RoundedLayer>();
  const rounded = async (layer: PlannedLayer, bits: number): Promise<RoundedLayer> => {
    const key = `${layer.name} ${bits}`;
    const found = cache.get(key) ?? (await round(layer, bits));
    cache.set(key, found);
    return found;
  };
  const build = async (bits: readonly number[]): Promise<Model> => {
    if (!twin) {
      const all = new Map<PlannedLayer, RoundedLayer>();
      for (const [i, layer] of known.entries()) all.set(layer, await rounded(layer, bits[i]!));
      return withRounded(float, all);
    }
    const changed = known.map((layer, i) => [layer, bits[i]!] as const).filter(([, b], i) => b !== start[i]);
    return changed.length === 0 ? model : requantized(model, new Map(changed), scales);
  };
  const end = performance.now() + o.seconds * 1000;
  const items = known.map((layer, i) => ({
    // A width that a rule does not list may be what the plan has: then it stays.
    widths: layer.widths.includes(start[i]!) ? exchanged(layer.widths, start[i]!) : [start[i]!],
    parameters: layer.parameters,
  }));
  const found = await exchange(items, start, {
    alternatives: uniform(items, start),
    damage: async (bits) => measure.of(await build(bits)),
    expired: () => performance.now() > end,
    progress: (text) => ctx.progress(Math.min(1, 1 - (end - performance.now()) / (o.seconds * 1000)), text),
  });
  const { bits } = found;
  const best = await build(bits);
  const changed = known.flatMap((layer, i): Note[] =>
    bits[i] === start[i] ? [] : [{ layer: layer.nodes.join(', '), text: `${start[i]} → ${bits[i]} bits` }],
  );
  return {
    model: twin ? best : model,
    plan: planOf(known, bits),
    ...(twin ? {} : { preview: best }),
    changed,
    skipped,
    notes: [summary(found, o.metric), ...(twin && changed.length > 0 ? ['changed layers are rounded to nearest'] : [])],
  };
}

/** A quarter of a bit changes less than the luck of rounding: fractions are exchanged by the half. */
const exchanged = (widths: readonly number[], start: number): number[] =>
  widths.filter((w) => Number.isInteger(2 * (w - start)));

/** The widest one width for all layers (or the next below that they may have) that spends no more than the plan. */
function uniform(items: readonly ExchangeItem[], start: readonly number[]): number[][] {
  return [...new Set(items.flatMap(({ widths }) => widths))]
    .sort((a, b) => b - a)
    .map((bits) => items.map(({ widths }) => widths.filter((w) => w <= bits).at(-1) ?? widths[0]!))
    .filter((plan) => spent(items, plan) <= spent(items, start))
    .slice(0, 1);
}

function plannedBits(plan: Plan, layer: PlannedLayer): number | undefined {
  const format = plan.get(layer.name)?.weights;
  return format?.kind === 'int' || format?.kind === 'coded' ? format.bits : undefined;
}

function summary({ before, after, tried, accepted, ended }: Exchange, metric: string): string {
  const text = (damage: number): string => (metric === 'output' ? dB(damage) : `${damage.toFixed(2)} below float`);
  const result = `${metric}: ${text(before)} before, ${text(after)} after ${accepted} exchanges (${tried} models measured)`;
  return ended === 'time' ? `${result}; ended by its time budget` : result;
}
