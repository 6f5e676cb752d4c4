import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import {
  channelExtremes,
  columnExtremes,
  roundingNoise,
  smoothingScales,
  type ChannelScales,
} from '../../numerics/channel_scales.ts';
import { rowSample, type RowSample } from '../../numerics/row_sample.ts';
import { whereFinite } from '../../numerics/finite.ts';
import { sealed } from '../../numerics/fold.ts';
import { notFiniteText } from '../channel_statistics.ts';
import type { Pass, PassContext, PassResult } from '../pass.ts';
import { beforeQuantizer } from './before_quantizer.ts';
import {
  bestOf,
  channelSites,
  gainOf,
  insertOption,
  readersOf,
  scaleChannels,
  type ChannelSite,
  type ChosenScales,
} from './channel_sites.ts';

const width = z.number().int().min(2).max(16);
const options = z.strictObject({
  alpha: z
    .union([z.literal('auto'), z.number().min(0).max(1)])
    .default('auto')
    .meta({
      description:
        'how much of the difficulty goes into the weights: 0 evens out the weights, 1 the activations; auto: what lets each value’s products expect the least error',
    }),
  bits_weights: width.default(8).meta({ description: 'bits that the weights will have, for alpha: auto' }),
  bits_activations: width.default(8).meta({ description: 'bits that the activations will have, for alpha: auto' }),
  insert: insertOption,
  samples: z.number().int().positive().default(512).meta({ description: 'calibration samples' }),
});

type MigrateOptions = z.infer<typeof options>;

/** Rows of a value whose rounding is looked at. */
const sampledRows = 512;
/** Shares of the largest channel below which channels are taken alike. */
const floors = [0, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2];
const tried = Array.from({ length: 10 }, (_, i) => (i + 1) / 10);

/**
 * SmoothQuant: channels of an activation that are much larger than others make one scale a tensor coarse for all. Each channel is divided
 * by s_j = max|X_j|^α / max|W_j|^(1 − α), and the rows of the MatMuls and Gemms that read it are multiplied by s_j: the function is the
 * same. A normalization that nothing else reads takes the division into its own factors; elsewhere (a post-norm encoder's residuals,
 * the output of a Gelu) it stands as one Mul.
 */
export const migrate: Pass<MigrateOptions> = {
  name: 'recover/migrate',
  section: 'extensions',
  precedes: 'quantizers',
  classes: ['SmoothQuant'],
  summary: 'moves outlier channels of activations into the weights that read them; before the quantizer',
  source: 'Xiao et al. 2022, SmoothQuant (arXiv 2211.10438)',
  options,
  apply: (model, o, ctx) => beforeQuantizer(model, ctx, (prepared) => apply(prepared, o, ctx)),
};

async function apply(model: Model, o: MigrateOptions, ctx: PassContext): Promise<PassResult> {
  const found = channelSites(model);
  const folds = found.sites.map(({ value }) => [value, [sealed(whereFinite(rowSample(sampledRows, value)))]] as const);
  const seen = folds.length === 0 ? new Map<string, never>() : await ctx.collect(model, new Map(folds), o.samples);
  return scaleChannels(model, o.insert, found, (site) => {
    const sample = seen.get(site.value)?.[0];
    return sample ? smoothing(site, sample, o) : notFiniteText(site.value);
  });
}

/** The scales of a site: by the first half of the samples, judged on the second; then by all of them. */
function smoothing(
  site: ChannelSite,
  sample: RowSample,
  { alpha, bits_weights: weights, bits_activations: activations }: MigrateOptions,
): ChosenScales | string {
  const readers = readersOf(site);
  const largest = columnExtremes(readers, sample.channels);
  const noise = (scales: ChannelScales): number => roundingNoise(sample, readers, scales, { weights, activations });
  const before = noise(new Float64Array(sample.channels).fill(1));
  const first = channelExtremes(sample.first);
  const second = channelExtremes(sample.second);
  const all = first.map((x, c) => Math.max(x, second[c]!));
  const chosen = (alpha: number, floor: number): ChosenScales => {
    const gain = gainOf(before, noise(smoothingScales(first, largest, alpha, floor)));
    return { scales: smoothingScales(all, largest, alpha, floor), alpha, gain };
  };
  return alpha === 'auto' ? bestOf(tried.flatMap((a) => floors.map((floor) => chosen(a, floor)))) : chosen(alpha, 0);
}
