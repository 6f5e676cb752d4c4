import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import { activationScales, type ChannelScales, type Reader } from '../../numerics/channel_scales.ts';
import type { AffineFormat } from '../../numerics/affine.ts';
import type { Granularity } from '../../numerics/format.ts';
import { dequantize, minMaxParams, quantize } from '../../numerics/quantize.ts';
import { channelStatistics, notFiniteText } from '../channel_statistics.ts';
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

const options = z.strictObject({
  bits_weights: z
    .number()
    .int()
    .min(2)
    .max(8)
    .default(4)
    .meta({ description: 'bits that the quantizer after it will give the weights' }),
  block_size: z
    .number()
    .int()
    .positive()
    .nullable()
    .default(32)
    .meta({ description: 'weights of one output that will share a scale; null = all of them' }),
  weights_symmetric: z
    .boolean()
    .default(false)
    .meta({ description: 'as the quantizer after it: scales without zero points' }),
  insert: insertOption,
  samples: z.number().int().positive().default(128).meta({ description: 'calibration samples' }),
});

type AwqOptions = z.infer<typeof options>;

const tried = Array.from({ length: 20 }, (_, i) => (i + 1) / 20);

/**
 * AWQ: weights that meet large activations matter more. Each channel of a product's input is divided by s_j = (E x_j²)^(α/2) and its weights
 * multiplied by it, so that these fill more steps of a grid that all share; α is what leaves the least Σ (W̃ − W)² E x² over the products. The
 * function is the same, and what quantizes the weights comes after it.
 */
export const awq: Pass<AwqOptions> = {
  name: 'recover/awq',
  section: 'extensions',
  precedes: 'quantizers',
  classes: ['AWQ', 'ActivationAwareScaling'],
  summary: 'scales weights up that meet large activations; before a weight-only quantizer',
  source: 'Lin et al. 2023, AWQ (arXiv 2306.00978)',
  options,
  apply: (model, o, ctx) => beforeQuantizer(model, ctx, (prepared) => apply(prepared, o, ctx)),
};

async function apply(model: Model, o: AwqOptions, ctx: PassContext): Promise<PassResult> {
  const found = channelSites(model);
  const axes = new Map(found.sites.map(({ value }) => [value, -1]));
  const seen = await channelStatistics(ctx, model, axes, o.samples);
  return scaleChannels(model, o.insert, found, (site) => {
    const stats = seen.get(site.value);
    if (!stats) return notFiniteText(site.value);
    return scalesOf(site, stats.sumSquares.map((sum) => sum / stats.count), o); // prettier-ignore
  });
}

function scalesOf(site: ChannelSite, power: Float64Array, o: AwqOptions): ChosenScales | string {
  const readers = readersOf(site);
  const error = (scales: ChannelScales): number =>
    readers.reduce((sum, reader) => sum + weightError(reader, power, scales, o), 0);
  const before = error(new Float64Array(power.length).fill(1));
  return bestOf(
    tried.map((alpha) => {
      const scales = activationScales(power, alpha);
      return { scales, alpha, gain: gainOf(before, error(scales)) };
    }),
  );
}

/** Σ (W̃ − W)² E x², W̃ being the weights that are rounded as they are scaled: the error of the outputs, rounding errors being independent. */
function weightError({ rows, columns, at }: Reader, power: Float64Array, scales: ChannelScales, o: AwqOptions): number {
  const symmetric = o.weights_symmetric;
  const format: AffineFormat = { kind: 'int', bits: o.bits_weights, signed: symmetric, symmetric };
  const granularity: Granularity =
    o.block_size === null
      ? { per: 'channel', axis: 0 }
      : { per: 'group', axis: 1, size: Math.min(o.block_size, columns) };
  const scaled = new Float32Array(rows * columns);
  for (let r = 0, i = 0; r < rows; r++) for (let c = 0; c < columns; c++) scaled[i++] = at(r, c) * scales[c]!;
  const dims = [rows, columns];
  const params = minMaxParams(scaled, dims, format, granularity);
  const rounded = dequantize(quantize(scaled, dims, params), dims, params);
  let sum = 0;
  for (let i = 0, c = 0; i < scaled.length; i++, c = c + 1 === columns ? 0 : c + 1)
    sum += ((rounded[i]! - scaled[i]!) / scales[c]!) ** 2 * power[c]!;
  return sum;
}
