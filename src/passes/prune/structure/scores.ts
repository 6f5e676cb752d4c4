import { storedTensors, type Channels, type Member } from '../../../graph/channels.ts';
import type { Model } from '../../../graph/model.ts';
import type { TensorProto } from '../../../graph/proto.ts';
import { consumers } from '../../../graph/query.ts';
import { dimsOf, tensorNumbers } from '../../../graph/tensor.ts';
import { sliceNorms } from '../../../numerics/sparsity.ts';
import { seeded } from './random.ts';
import { activationOf, activityIn, channelAxis } from './activity.ts';
import { channelStatistics } from '../../channel_statistics.ts';
import type { PassContext } from '../../pass.ts';

/** What tells a strong channel from a weak one; the higher the stronger. */
export type Criterion = 'l1' | 'l2' | 'activation_mean' | 'apoz' | 'random';

/**
 * A score for every atom. Weight norms are those of the filters that make the channel, each layer's divided by their mean so that
 * layers of a residual sum count alike; activations are looked at where the channel has passed its activation function; where
 * they are not finite on the calibration data the norm stands for them.
 */
export async function channelScores(
  model: Model,
  channels: Channels,
  criterion: Criterion,
  options: { readonly samples: number; readonly seed: number },
  ctx: PassContext,
): Promise<Map<number, number>> {
  const scores = new Map<number, number>(channels.groups.flatMap((group) => group.atoms.map((atom) => [atom, 0])));
  if (criterion === 'random') {
    const next = seeded(options.seed);
    for (const atom of scores.keys()) scores.set(atom, next());
    return scores;
  }
  const makers = channels.members.filter((member) => member.role === 'out');
  const active = criterion === 'activation_mean' || criterion === 'apoz';
  const values = active ? await activations(model, channels, makers, criterion, options.samples, ctx) : undefined;
  const stored = storedTensors(model);
  for (const member of makers) {
    const tensor = stored.get(member.tensor);
    const norm = criterion === 'l1' ? 'l1' : 'l2';
    const norms = values?.get(member) ?? (tensor && normsAlong(tensor, member.axis, norm));
    if (!norms) continue;
    const mean = norms.reduce((a, b) => a + Math.abs(b), 0) / norms.length || 1;
    member.atoms.forEach((atom, i) => {
      const score = scores.get(atom);
      if (score !== undefined) scores.set(atom, score + norms[i]! / mean);
    });
  }
  return scores;
}

/** The norm of each slice of a stored tensor along an axis. */
export const normsAlong = (tensor: TensorProto, axis: number, norm: 'l1' | 'l2'): Float64Array =>
  sliceNorms(Float32Array.from(tensorNumbers(tensor)), dimsOf(tensor), axis, norm);

/** Per channel of each maker: mean of the activation, or the share of it that is not zero (APoZ, Hu et al. 2016, turned round). */
async function activations(
  model: Model,
  channels: Channels,
  makers: readonly Member[],
  criterion: Criterion,
  samples: number,
  ctx: PassContext,
): Promise<Map<Member, Float64Array>> {
  const readers = consumers(model.graph);
  const places = new Map(makers.map((member) => [member, activationOf(member.node, readers)]));
  const axes = [...places.values()].map(
    (value) => [value, channelAxis(channels.dims.get(value)?.length ?? 0)] as const,
  );
  const found = await channelStatistics(ctx, model, new Map(axes), samples);
  return new Map(
    [...places].flatMap(([member, value]) => {
      const stats = found.get(value);
      if (stats?.channels !== member.atoms.length) return [];
      return [[member, activityIn(stats)[criterion === 'apoz' ? 'active' : 'mean']] as const];
    }),
  );
}
