import type { Model } from '../graph/model.ts';
import { channelStats, type ChannelStats } from '../numerics/channel_stats.ts';
import { whereFinite } from '../numerics/finite.ts';
import { sealed } from '../numerics/fold.ts';
import type { PassContext } from './pass.ts';

/**
 * Statistics of each channel of a model's values, in one pass over the calibration data. Values that are NaN or infinite there have none:
 * a mask of −∞, a class that can never win.
 * @param axes value → the axis of its channels.
 */
export async function channelStatistics(
  ctx: PassContext,
  model: Model,
  axes: ReadonlyMap<string, number>,
  samples?: number,
): Promise<ReadonlyMap<string, ChannelStats>> {
  if (axes.size === 0) return new Map();
  const folds = [...axes].map(
    ([value, axis]) => [value, [sealed(whereFinite(channelStats({ axis }, value)))]] as const,
  );
  const found = await ctx.collect(model, new Map(folds), samples);
  return new Map([...found].flatMap(([value, [stats]]) => (stats ? [[value, stats] as const] : [])));
}

/** Why a layer is left alone that makes or reads a value without statistics. */
export const notFiniteText = (value: string): string => `left alone: "${value}" is not finite on the calibration data`;
