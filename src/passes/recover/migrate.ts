import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import { layerName } from '../../graph/query.ts';
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
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';
import { beforeQuantizer } from './before_quantizer.ts';
import { channelSites, divideChannels, readersOf, type ChannelSite } from './channel_sites.ts';

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
  insert: z.boolean().default(true).meta({
    description:
      'one Mul in front of products whose input no normalization makes for them alone, where it lowers their expected error by 1 dB or more',
  }),
  samples: z.number().int().positive().default(512).meta({ description: 'calibration samples' }),
});

type MigrateOptions = z.infer<typeof options>;

/** An operator more is worth so much less noise. */
const worthMul = 1;
/** Below this, in dB, a change is noise of the estimate. */
const worthAnything = 0.05;
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
  const { sites, skipped } = channelSites(model);
  const folds = sites.map(({ value }) => [value, [sealed(whereFinite(rowSample(sampledRows, value)))]] as const);
  const seen = sites.length === 0 ? new Map() : await ctx.collect(model, new Map(folds), o.samples);
  const changed: Note[] = [];
  let now = model;
  for (const site of sites) {
    const stats = seen.get(site.value)?.[0];
    const found = stats ? smoothing(site, stats, o) : notFiniteText(site.value);
    if (typeof found === 'string') {
      skipped.push({ layer: site.name, text: found });
      continue;
    }
    now = divideChannels(now, site, found.scales);
    const [least, most] = [Math.min(...found.scales), Math.max(...found.scales)].map((v) => Number(v.toPrecision(3)));
    const where = typeof site.parts === 'string' ? ` by a Mul (${site.parts})` : '';
    changed.push({
      layer: site.name,
      text: `channels divided by ${least} … ${most}${where} for "${site.readers.map((r) => layerName(r.node)).join('", "')}"; α ${found.alpha}, expected error ${found.gain.toFixed(1)} dB lower`,
    });
  }
  return {
    model: now,
    changed,
    skipped,
    notes: sites.length > 0 ? [] : ['no product reads a value that can be scaled'],
  };
}

/** The scales of a site, or why it stays as it is. */
function smoothing(
  site: ChannelSite,
  stats: RowSample,
  { alpha, insert, bits_weights: weights, bits_activations: activations }: MigrateOptions,
): { readonly scales: ChannelScales; readonly alpha: number; readonly gain: number } | string {
  const inserted = typeof site.parts === 'string';
  if (inserted && !insert) return site.parts as string;
  const readers = readersOf(site);
  const largest = columnExtremes(readers, stats.channels);
  const noise = (scales: ChannelScales): number => roundingNoise(stats, readers, scales, { weights, activations });
  const before = noise(new Float64Array(stats.channels).fill(1));
  const [seen, all] = [
    channelExtremes(stats.first),
    channelExtremes(stats.second).map((x, c) => Math.max(x, stats.first.max[c]!, -stats.first.min[c]!)),
  ];
  const candidates = (alpha === 'auto' ? tried : [alpha]).flatMap((a) =>
    (alpha === 'auto' ? floors : [0]).map((floor) => {
      const after = noise(smoothingScales(seen, largest, a, floor));
      return {
        scales: smoothingScales(all, largest, a, floor),
        alpha: a,
        gain: before > 0 ? 10 * Math.log10(before / after) : 0,
      };
    }),
  );
  const best = candidates.reduce((a, b) => (b.gain > a.gain ? b : a));
  const least = inserted ? worthMul : alpha === 'auto' ? worthAnything : -Infinity;
  if (!(best.gain < least)) return best;
  const by = `evening out its channels would lower the expected error by ${Math.max(0, best.gain).toFixed(1)} dB only`;
  return inserted ? `${by}, which is not worth a Mul (${site.parts as string})` : by;
}
