import type { Tensor } from '../../../data/types.ts';
import type { NodeProto } from '../../../graph/proto.ts';
import type { Model } from '../../../graph/model.ts';
import { consumers, isOp } from '../../../graph/query.ts';
import { sealed } from '../../../numerics/fold.ts';
import { QtoolError } from '../../../util/error.ts';
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

interface ActivityState {
  count: number;
  sums: Float64Array;
  active: Float64Array;
}

/** Streams mean and share of non-zeros per channel. */
export function channelActivity(axis: number) {
  const grown = (state: ActivityState, size: number): void => {
    if (state.sums.length === size) return;
    state.sums = new Float64Array(size);
    state.active = new Float64Array(size);
  };
  return {
    name: 'channel_activity',
    start: (): ActivityState => ({ count: 0, sums: new Float64Array(), active: new Float64Array() }),
    add(state: ActivityState, tensor: Tensor): ActivityState {
      const size = tensor.dims[axis] ?? 1;
      const stride = tensor.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
      grown(state, size);
      const data = tensor.data as Float32Array;
      for (let i = 0; i < data.length; i++) {
        const at = Math.floor(i / stride) % size;
        const v = data[i] as number;
        state.sums[at] = (state.sums[at] as number) + v;
        if (v !== 0) state.active[at] = (state.active[at] as number) + 1;
      }
      state.count += data.length / size;
      return state;
    },
    merge(a: ActivityState, b: ActivityState): ActivityState {
      if (a.count === 0) return b;
      if (b.count === 0) return a;
      const plus = (x: Float64Array, y: Float64Array): Float64Array => x.map((v, i) => v + (y[i] as number));
      return { count: a.count + b.count, sums: plus(a.sums, b.sums), active: plus(a.active, b.active) };
    },
    finish: ({ count, sums, active }: ActivityState): ChannelActivity => ({
      mean: sums.map((v) => v / Math.max(1, count)),
      active: active.map((v) => v / Math.max(1, count)),
    }),
  };
}

/** Activity of a layer's outputs where they have passed batch norm and activation function. */
export async function siteActivity(site: StructureSite, ctx: PassContext, model: Model): Promise<ChannelActivity> {
  const value = activationOf(site.node, consumers(model.graph));
  const rank = (await ctx.shapes(model)).get(value)?.dims.length ?? 0;
  const fold = sealed(channelActivity(rank > 2 ? 1 : rank - 1));
  const found = (await ctx.collect(model, new Map([[value, [fold]]]))).get(value)?.[0];
  if (found?.mean.length === site.count) return found;
  throw new QtoolError('graph', `the activations of ${value} are not one a structure`, { at: site.layer.node });
}
