import type { NodeProto } from '../../../graph/proto.ts';
import type { Model } from '../../../graph/model.ts';
import { consumers, isOp } from '../../../graph/query.ts';
import type { ChannelStats } from '../../../numerics/channel_stats.ts';
import { QtoolError } from '../../../util/error.ts';
import { channelStatistics, notFiniteText } from '../../channel_statistics.ts';
import type { PassContext } from '../../pass.ts';
import type { StructureSite } from './structures.ts';

/** The value after batch norm and activation function, where the layer's output goes only there. */
export function activationOf(node: NodeProto, readers: ReadonlyMap<string, NodeProto[]>): string {
  let value = node.output[0] as string;
  for (;;) {
    const [reader, ...more] = readers.get(value) ?? [];
    if (!reader || more.length > 0) return value;
    if (
      isOp(reader, 'Relu', 'LeakyRelu', 'PRelu', 'Clip', 'Elu', 'Sigmoid', 'HardSigmoid', 'HardSwish', 'Tanh', 'Gelu')
    )
      return reader.output[0] as string;
    if (!isOp(reader, 'BatchNormalization')) return value;
    value = reader.output[0] as string;
  }
}

export interface ChannelActivity {
  /** Mean of each channel. */
  readonly mean: Float64Array;
  /** Share of each channel's elements that are not zero. */
  readonly active: Float64Array;
}

/** The axis of the channels of a value of `rank` axes: the second of images and sequences, the last of others. */
export const channelAxis = (rank: number): number => (rank > 2 ? 1 : rank - 1);

export const activityIn = ({ count, sum, zeros }: ChannelStats): ChannelActivity => ({
  mean: sum.map((v) => v / Math.max(1, count)),
  active: zeros.map((n) => (count - n) / Math.max(1, count)),
});

/** Activity of a layer's outputs where they have passed batch norm and activation function. */
export async function siteActivity(
  site: StructureSite,
  ctx: PassContext,
  model: Model,
): Promise<ChannelActivity | string> {
  const value = activationOf(site.node, consumers(model.graph));
  const rank = (await ctx.shapes(model)).get(value)?.dims.length ?? 0;
  const found = (await channelStatistics(ctx, model, new Map([[value, channelAxis(rank)]]))).get(value);
  if (!found) return notFiniteText(value);
  if (found.channels === site.count) return activityIn(found);
  throw new QtoolError('graph', `the activations of ${value} are not one a structure`, { at: site.layer.node });
}
