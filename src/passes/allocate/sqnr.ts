import * as z from 'zod';
import { waterFill, type AllocationItem } from '../../numerics/allocation.ts';
import { roundWidths, type DiscreteItem } from '../../numerics/allocation_rounding.ts';
import { decibels } from '../../numerics/error.ts';
import { knapsack } from '../../numerics/knapsack.ts';
import { fitSlope } from '../../numerics/sqnr_model.ts';
import { QtoolError } from '../../util/error.ts';
import type { Pass, PassContext, PassResult } from '../pass.ts';
import type { PlannedLayer } from './layers.ts';
import {
  allocatorSelectors,
  budgetStrength,
  checkFormats,
  common,
  oneConstraint,
  oneConstraintMessage,
  type AllocatorOptions,
} from './options.ts';
import { counted, dB, planResult, prepareGround, type Ground } from './plan.ts';
import { openProbe } from './probe.ts';
import { remembered } from './remembered.ts';
import { roundLayer, withRounded } from './rounded.ts';
import { rounderFor, type Rounder } from './rounder.ts';
import { spending } from './spend.ts';
import type { Model } from '../../graph/model.ts';
import { must } from '../../util/must.ts';

const options = z
  .strictObject({
    ...common,
    gains: z
      .enum(['measured', 'equal'])
      .default('measured')
      .meta({ description: "how much of a layer's error reaches the output: measured, or taken as equal (the paper)" }),
    kappa: z
      .union([z.literal('fitted'), z.number().positive()])
      .default('fitted')
      .meta({ description: 'dB a bit: fitted to each layer, or one number for all' }),
    probe_bits: z
      .number()
      .int()
      .min(2)
      .max(8)
      .default(4)
      .meta({ description: 'width at which the gains are measured, one layer at a time' }),
  })
  .refine(oneConstraint, { message: oneConstraintMessage })
  .superRefine(checkFormats);

export type SqnrOptions = z.infer<typeof options>;

/**
 * Lin, Talathi and Annapureddy's allocation: a layer's SQNR grows by κ dB a bit, noise of all layers adds up at the output, so
 * β_i − β_j = (10/κ)·log10(ρ_j/ρ_i) for costs ρ. κ and the noise at 0 bits are fitted to each layer's own weights; with measured
 * gains the general form is used, reverse water-filling (docs/passes/allocate.md).
 */
export const sqnrAllocator: Pass<SqnrOptions> = {
  name: 'allocate/sqnr',
  section: 'allocators',
  precedes: 'quantizers',
  classes: ['SqnrAllocator'],
  summary: 'bits a layer in closed form from signal-to-quantization-noise ratios',
  source: 'Lin, Talathi, Annapureddy, ICML 2016 (arXiv 1511.06393)',
  options,
  selectors: allocatorSelectors,
  strength: budgetStrength<SqnrOptions>(),
  apply,
};

/** What the closed form knows of a layer. */
interface LayerModel {
  /** Noise-to-signal ratio of the weights for each of its widths. */
  readonly noise: readonly number[];
  readonly slope: number;
  readonly offset: number;
  /** Output noise-to-signal ratio for one of the weights, where slopes hold: 1 = all of it arrives. */
  readonly gain: number;
  /** The same at each of its widths. */
  readonly gains: readonly number[];
}

async function apply(model: Model, o: SqnrOptions, ctx: PassContext): Promise<PassResult> {
  const ground = await prepareGround(model, o, ctx);
  const { layers } = ground;
  const spend = spending(ground, o);
  const round = rounderFor(ctx, ground.float, o);
  const gains =
    o.gains === 'equal'
      ? layers.map((): Gains => ({ usual: 1, low: 1 }))
      : await remembered(ctx, 'gains', model, [o.samples, o.probe_bits, o.rounding, o.scales], layers, () =>
          measuredGains(ground, o, round, ctx),
        );
  const models = layers.map((layer, i) => layerModel(layer, gains[i] as Gains, o));
  const items = layers.map((layer, i): AllocationItem => {
    const { slope, offset, gain } = models[i] as LayerModel;
    return {
      cost: spend.of(layer, 1),
      sensitivity: gain * 10 ** (-offset / 10),
      slope,
      min: layer.widths[0]!,
      max: layer.widths.at(-1) as number,
    };
  });
  const discrete = layers.map((layer, i): DiscreteItem => {
    const { noise, gains: arriving } = models[i] as LayerModel;
    return {
      widths: layer.widths,
      noise: noise.map((n, k) => n * arriving[k]!),
      cost: layer.widths.map((bits) => spend.of(layer, bits)),
    };
  });
  const ideal = waterFill(items, spend.limit === undefined ? { sqnr: target(o) } : { budget: spend.limit });
  // The exact integer solution of the same noise model: rounding real widths fails where one layer holds nearly all weights.
  const chosen =
    spend.limit === undefined
      ? roundWidths(discrete, ideal, { noise: 10 ** (-target(o) / 10) })
      : knapsack(
          discrete.map(({ noise, cost }) => noise.map((damage, k) => ({ damage, cost: cost[k]! }))),
          spend.limit,
        ).chosen;
  const bits = layers.map((layer, i) => layer.widths[chosen[i]!] as number);
  const total = (list: 'noise' | 'cost'): number =>
    discrete.reduce((sum, item, i) => sum + (item[list][chosen[i]!] as number), 0);
  return planResult(
    model,
    ground,
    bits,
    round,
    (layer, i) => {
      const { slope, gains: arriving, noise } = models[i] as LayerModel;
      const [own, gain] = [noise, arriving].map((list) => list[chosen[i]!]) as [number, number];
      return `ideal ${ideal[i]!.toFixed(2)} (${counted(layer)}, κ ${slope.toFixed(1)} dB a bit, ${
        o.gains === 'equal' ? '' : `gain ${decibels(Math.max(gain, 1e-30), 1).toFixed(1)} dB, `
      }weights at ${dB(own)}, at the output ${dB(own * gain)})`;
    },
    [`${spend.describe(total('cost'))}; expected at the output ${dB(total('noise'))} from weights alone`],
  );
}

function target(o: AllocatorOptions): number {
  if (o.target_sqnr === undefined) throw new QtoolError('schedule', oneConstraintMessage);
  return o.target_sqnr;
}

/** Noise of a layer's weights at its widths, and the line through their SQNRs from 2 to 8 bits. */
function layerModel(layer: PlannedLayer, { usual: gain, low }: Gains, o: SqnrOptions): LayerModel {
  const all = layer.formats ? layer.widths : [2, 3, 4, 5, 6, 7, 8];
  const known = new Map([...all, ...layer.widths].map((bits) => [bits, roundLayer(layer, bits, o.scales).noise]));
  const noises = all.map((bits) => must(known, bits, 'the noise at bits'));
  const noise = layer.widths.map((bits) => must(known, bits, 'the noise at bits'));
  const gains = layer.widths.map((bits) => {
    const part = Math.min(1, Math.max(0, usualFrom - bits) / (usualFrom - lowRate));
    return low > 0 && gain > 0 ? gain * (low / gain) ** part : gain;
  });
  const ratios = noises.map((n) => decibels(1, n));
  if (o.kappa === 'fitted') {
    // Weights without error (all zero, or few values that every width holds) have no slope: they get the least bits.
    const line = fitSlope(all, ratios) ?? { slope: 0, offset: Infinity };
    return { noise, gain, gains, ...line };
  }
  const { kappa } = o;
  const offsets = ratios.map((d, i) => d - kappa * all[i]!).filter(Number.isFinite);
  const offset = offsets.length === 0 ? Infinity : offsets.reduce((a, b) => a + b, 0) / offsets.length;
  return { noise, gain, gains, slope: kappa, offset };
}

const nearest = (widths: readonly number[], bits: number): number =>
  widths.reduce((a, b) => (Math.abs(b - bits) < Math.abs(a - bits) ? b : a));

/** Output noise over weight noise of a layer, at `probe_bits` and at `lowRate`. */
interface Gains {
  readonly usual: number;
  readonly low: number;
}

/**
 * Coded steps reach rates where most weights become 0: what is lost then points along the signal, and more of it arrives than of
 * rounding noise. Between the two widths the gain's dB are a line; from 2 bits on it is what it is at `probe_bits`.
 */
const usualFrom = 2;
const lowRate = 1;

/** Gains by rounding one layer at a time. */
async function measuredGains(
  { float, layers }: Ground,
  o: Pick<SqnrOptions, 'samples' | 'probe_bits' | 'scales'>,
  round: Rounder,
  ctx: PassContext,
): Promise<Gains[]> {
  const probe = await openProbe(ctx, float, o.samples);
  const gains: Gains[] = [];
  for (const [i, layer] of layers.entries()) {
    ctx.progress(i / layers.length, `gain of ${layer.name}`);
    const at = async (bits: number): Promise<number> => {
      const rounded = await round(layer, bits);
      if (rounded.noise === 0) return 0;
      return (await probe.noise(withRounded(float, new Map([[layer, rounded]])))) / rounded.noise;
    };
    const usual = await at(layer.formats ? nearest(layer.widths, o.probe_bits) : o.probe_bits);
    gains.push({ usual, low: o.scales === 'coded' ? await at(lowRate) : usual });
  }
  return gains;
}
