import * as z from 'zod';
import { applyMask, type Mask } from '../../numerics/sparsity.ts';
import { dynamicMask, magnitudeStatistics } from '../../numerics/surgery.ts';
import type { Model } from '../../graph/model.ts';
import type { Pass, PassContext, PassResult } from '../pass.ts';
import { perWeight, prunedResult, pruneSites, scaled, spanText, weightSelectors, type PruneSite } from './masks.ts';

const options = z
  .strictObject({
    sensitivities: perWeight(z.number().min(0), 'standard deviations above the mean magnitude'),
    low_thresh_mult: z.number().min(0).meta({ description: 'times mean + s·σ: a weight below it goes' }),
    hi_thresh_mult: z
      .number()
      .min(0)
      .meta({ description: 'times mean + s·σ: a pruned weight from there on comes back' }),
    sensitivity_multiplier: z
      .number()
      .min(0)
      .default(0)
      .meta({ description: 'by what share of itself a sensitivity grows with every epoch of the policy' }),
  })
  .refine((o) => o.low_thresh_mult <= o.hi_thresh_mult, {
    message: 'must not be below low_thresh_mult: weights between the two keep what they are',
    path: ['hi_thresh_mult'],
  });

export type SplicingOptions = z.infer<typeof options>;

/**
 * Dynamic network surgery: weights below one threshold go, pruned ones above a second one come back, those between stay as they
 * are. What a zero was is remembered, so that it can come back when another pass has changed the layer's scale.
 */
export const splicingPruner: Pass<SplicingOptions> = {
  name: 'prune/splicing',
  section: 'pruners',
  classes: ['SplicingPruner'],
  summary: 'zero weights below a threshold, and give back those above a second one',
  source: 'Guo et al. 2016, Dynamic Network Surgery (arXiv 1608.04493); Distiller SplicingPruner',
  options,
  selectors: (o) => weightSelectors('sensitivities', o.sensitivities),
  strength: {
    at: (o, t) => ({ ...o, sensitivities: scaled(o.sensitivities, t), low_thresh_mult: o.low_thresh_mult * t }),
    describe: (o) => `sensitivity ${spanText(Object.values(o.sensitivities))}, below ${o.low_thresh_mult.toFixed(2)}`,
  },
  apply,
};

/** What an instance remembers of a weight. */
interface Surgery {
  readonly mean: number;
  readonly deviation: number;
  readonly mask: Mask;
  /** The weights with what the zeros were. */
  readonly whole: Float32Array;
}

async function apply(model: Model, o: SplicingOptions, { memory, clock }: PassContext): Promise<PassResult> {
  const { sites, ...left } = pruneSites(model, Object.keys(o.sensitivities));
  const growth = 1 + o.sensitivity_multiplier * (clock.epoch - clock.start);
  const pruned = sites.map((site) => {
    const known = rememberedOf(memory.get(site.name), site);
    const unit = known.mean + (o.sensitivities[site.selector] ?? 0) * growth * known.deviation;
    const [low, high] = [unit * o.low_thresh_mult, unit * o.hi_thresh_mult];
    const mask = dynamicMask(known.whole, known.mask, low, high);
    const back = mask.reduce((n, keep, i) => n + (keep === 1 && known.mask[i] === 0 ? 1 : 0), 0);
    memory.set(site.name, { ...known, mask } satisfies Surgery);
    const thresholds = `, thresholds ${low.toPrecision(3)} and ${high.toPrecision(3)}`;
    const remark = `${thresholds}${back > 0 ? `, ${back} given back` : ''}`;
    return { site, data: applyMask(known.whole, mask), remark };
  });
  return prunedResult(model, pruned, left);
}

/** The mean and σ of the first use; weights as they are now, and behind zeros what they were. */
function rememberedOf(known: unknown, site: PruneSite): Surgery {
  const before = known as Surgery | undefined;
  if (before?.whole.length !== site.data.length)
    return { ...magnitudeStatistics(site.data), mask: new Uint8Array(site.data.length).fill(1), whole: site.data };
  const whole = site.data.map((w, i) => (w === 0 && before.mask[i] === 0 ? before.whole[i]! : w));
  return { ...before, whole };
}
