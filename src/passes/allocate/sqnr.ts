import * as z from 'zod';
import { waterFill, type AllocationItem } from '../../numerics/allocation.ts';
import { roundWidths, type DiscreteItem } from '../../numerics/allocation_rounding.ts';
import { knapsack } from '../../numerics/knapsack.ts';
import { fitSlope } from '../../numerics/sqnr_model.ts';
import { QtoolError } from '../../util/error.ts';
import type { Pass, PassContext, PassResult } from '../pass.ts';
import type { PlannedLayer } from './layers.ts';
import { remembered } from './damage.ts';
import {
  allocatorSelectors,
  budgetStrength,
  common,
  oneConstraint,
  oneConstraintMessage,
  type AllocatorOptions,
} from './options.ts';
import { counted, dB, planResult, prepareGround, type Ground } from './plan.ts';
import { openProbe } from './probe.ts';
import { roundLayer, withRounded } from './rounded.ts';
import { rounderFor, type Rounder } from './rounder.ts';
import { spending } from './spend.ts';
import type { Model } from '../../graph/model.ts';

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
  .refine(oneConstraint, { message: oneConstraintMessage });

export type SqnrOptions = z.infer<typeof options>;

/**
 * Lin, Talathi and Annapureddy's allocation: a layer's SQNR grows by κ dB a bit, noise of all layers adds up at the output, so
 * β_i − β_j = (10/κ)·log10(ρ_j/ρ_i) for costs ρ. κ and the noise at 0 bits are fitted to each layer's own weights; with measured
 * gains the general form is used, reverse water-filling (docs/passes/allocate.md).
 */
export const sqnrAllocator: Pass<SqnrOptions> = {
  name: 'allocate/sqnr',
  section: 'allocators',
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
  /** Output noise-to-signal ratio for one of the weights: 1 = all of it arrives. */
  readonly gain: number;
}

async function apply(model: Model, o: SqnrOptions, ctx: PassContext): Promise<PassResult> {
  const ground = await prepareGround(model, o, ctx);
  const { layers } = ground;
  const spend = spending(ground.float, layers, o);
  const round = rounderFor(ctx, ground.float, o);
  const gains =
    o.gains === 'equal'
      ? layers.map(() => 1)
      : await remembered(ctx, 'gains', model, [o.samples, o.probe_bits, o.rounding, o.scales], ground, () =>
          measuredGains(ground, o, round, ctx),
        );
  const models = layers.map((layer, i) => layerModel(layer, gains[i] as number, o));
  const items = layers.map((layer, i): AllocationItem => {
    const { slope, offset, gain } = models[i] as LayerModel;
    return {
      cost: spend.of(layer, 1),
      sensitivity: gain * 10 ** (-offset / 10),
      slope,
      min: layer.widths[0] as number,
      max: layer.widths.at(-1) as number,
    };
  });
  const discrete = layers.map((layer, i): DiscreteItem => {
    const { noise, gain } = models[i] as LayerModel;
    return {
      widths: layer.widths,
      noise: noise.map((n) => n * gain),
      cost: layer.widths.map((bits) => spend.of(layer, bits)),
    };
  });
  const ideal = waterFill(items, spend.limit === undefined ? { sqnr: target(o) } : { budget: spend.limit });
  // The exact integer solution of the same noise model: rounding real widths fails where one layer holds nearly all weights.
  const chosen =
    spend.limit === undefined
      ? roundWidths(discrete, ideal, { noise: 10 ** (-target(o) / 10) })
      : knapsack(
          discrete.map(({ noise, cost }) => noise.map((damage, k) => ({ damage, cost: cost[k] as number }))),
          spend.limit,
        ).chosen;
  const bits = layers.map((layer, i) => layer.widths[chosen[i] as number] as number);
  const total = (list: 'noise' | 'cost'): number =>
    discrete.reduce((sum, item, i) => sum + (item[list][chosen[i] as number] as number), 0);
  return planResult(
    model,
    ground,
    bits,
    round,
    (layer, i) => {
      const { slope, gain, noise } = models[i] as LayerModel;
      const own = noise[chosen[i] as number] as number;
      return `ideal ${(ideal[i] as number).toFixed(2)} (${counted(layer)}, κ ${slope.toFixed(1)} dB a bit, ${
        o.gains === 'equal' ? '' : `gain ${(10 * Math.log10(Math.max(gain, 1e-30))).toFixed(1)} dB, `
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
function layerModel(layer: PlannedLayer, gain: number, o: SqnrOptions): LayerModel {
  const all = [2, 3, 4, 5, 6, 7, 8];
  const noises = all.map((bits) => roundLayer(layer, bits, o.scales).noise);
  const noise = layer.widths.map((bits) => noises[all.indexOf(bits)] as number);
  const decibels = noises.map((n) => (n === 0 ? Infinity : -10 * Math.log10(n)));
  if (o.kappa === 'fitted') {
    // Weights without error (all zero, or few values that every width holds) have no slope: they get the least bits.
    const line = fitSlope(all, decibels) ?? { slope: 0, offset: Infinity };
    return { noise, gain, ...line };
  }
  const { kappa } = o;
  const known = decibels.map((d, i) => d - kappa * (all[i] as number)).filter(Number.isFinite);
  const offset = known.length === 0 ? Infinity : known.reduce((a, b) => a + b, 0) / known.length;
  return { noise, gain, slope: kappa, offset };
}

/** Output noise over weight noise of each layer, by rounding one layer at a time to `probe_bits`. */
async function measuredGains(
  { float, layers }: Ground,
  o: Pick<SqnrOptions, 'samples' | 'probe_bits'>,
  round: Rounder,
  ctx: PassContext,
): Promise<number[]> {
  const probe = await openProbe(ctx, float, o.samples);
  const gains: number[] = [];
  for (const [i, layer] of layers.entries()) {
    ctx.progress(i / layers.length, `gain of ${layer.name}`);
    const rounded = await round(layer, o.probe_bits);
    const output = rounded.noise === 0 ? 0 : await probe.noise(withRounded(float, new Map([[layer, rounded]])));
    gains.push(rounded.noise === 0 ? 0 : output / rounded.noise);
  }
  return gains;
}
