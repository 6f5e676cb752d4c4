import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import { knapsack } from '../../numerics/knapsack.ts';
import { QtoolError } from '../../util/error.ts';
import type { Pass, PassContext, PassResult } from '../pass.ts';
import { damageTable } from './damage.ts';
import type { PlannedLayer } from './layers.ts';
import { allocatorSelectors, staticOptions, withStatic } from './options.ts';
import { allocated, counted, dB, prepareGround } from './plan.ts';
import { rounderFor } from './rounder.ts';
import { packedBytes } from './spend.ts';
import { layerTimes } from './timing.ts';

const options = z.strictObject({
  budget: z
    .strictObject({
      weights: z.number().min(1).max(32).meta({ description: 'mean bits a weight; float layers count 32' }),
    })
    .optional(),
  latency: z.number().positive().max(2).optional().meta({
    description:
      'time of all layers as a share of what they take in float: 0.6 = at most 60 %; left out = as fast as it goes',
  }),
  float: z.boolean().default(true).meta({ description: 'a layer may also stay in float, where that is faster' }),
  seconds: z.number().positive().default(60).meta({ description: 'time that measuring latencies may take' }),
  damage: z.literal('output').default('output'),
  ...staticOptions,
});

export type LatencyOptions = z.infer<typeof options>;

/**
 * Chooses between float and integer widths by time measured on this machine as well as by damage: integer kernels are not always
 * faster (narrow and depthwise layers), and no width below 8 bits is faster than 8. Minimises damage + λ·time under the byte
 * budget by an exact knapsack; λ is the least that meets the latency asked for, or so large that time alone decides.
 */
export const latencyAllocator: Pass<LatencyOptions> = {
  name: 'allocate/latency',
  section: 'allocators',
  precedes: 'quantizers',
  classes: ['LatencyAllocator'],
  summary: 'float or integer widths a layer by latency measured on this machine, damage and size',
  source: 'latency tables of HAQ (arXiv 1811.08886) and HAWQ-V3 (arXiv 2011.10680), measured in onnxruntime',
  options,
  selectors: (o) => allocatorSelectors(withStatic(o)),
  strength: {
    at: (o, t) => ({
      ...o,
      budget: o.budget && { weights: o.budget.weights + (1 - t) * Math.max(0, 8 - o.budget.weights) },
      latency: (o.latency ?? 0.3) + (1 - t) * (1 - (o.latency ?? 0.3)),
    }),
    describe: (o) =>
      [
        o.latency === undefined ? 'fastest' : `latency ${(100 * o.latency).toFixed(0)} %`,
        ...(o.budget ? [`mean ${o.budget.weights.toFixed(2)} bits`] : []),
      ].join(', '),
  },
  apply,
};

/** One way to hold a layer; `bits` undefined = float. */
interface Way {
  readonly bits: number | undefined;
  readonly damage: number;
  readonly milliseconds: number;
  readonly size: number;
}

async function apply(model: Model, o: LatencyOptions, ctx: PassContext): Promise<PassResult> {
  const ground = await prepareGround(model, withStatic(o), ctx);
  const { float, layers } = ground;
  const times = await layerTimes(ctx, float, layers, o.seconds);
  const round = rounderFor(ctx, float, o);
  const table = await damageTable(model, ground, o, round, ctx);
  const ways = layers.map(({ widths, parameters: count }, i): Way[] => {
    const { integer, float: slow } = times[i]!;
    const integers = widths.map((bits, k) => {
      return { bits, damage: table.damage[i]![k]!, milliseconds: integer, size: count * bits };
    });
    const asIs = { bits: undefined, damage: 0, milliseconds: slow, size: count * 32 };
    return o.float ? [...integers, asIs] : integers;
  });
  const parameters = layers.reduce((sum, layer) => sum + layer.parameters, 0);
  const limit = (o.budget?.weights ?? 32) * parameters;
  const whole = times.reduce((sum, time) => sum + time.alone, 0);
  // A weaker setting of "as fast as it goes" may name a share that cannot be had: that is what the fastest are then taken for.
  if (o.latency === undefined) ctx.cache?.set('latency', 'fastest');
  const time = o.latency === undefined ? undefined : o.latency * whole;
  const chosen = choose(ways, limit, time, ctx.cache?.get('latency') === 'fastest');
  const taken = ways.map((list, i) => list[chosen[i]!]!);
  const total = (key: 'milliseconds' | 'damage'): number => taken.reduce((sum, way) => sum + way[key], 0);
  const microseconds = (ms: number): string => `${(1000 * ms).toFixed(0)} µs`;
  const reason = (layer: PlannedLayer, i: number): string => {
    const { integer, float: slow } = times[i]!;
    return `${counted(layer)}; integer ${microseconds(integer)}, float between integers ${microseconds(slow)}; at the output ${dB(taken[i]!.damage)}`;
  };
  const bits = taken.map((way) => way.bits);
  const size = taken.reduce((sum, way) => sum + way.size, 0);
  const packed = layers.reduce((sum, layer, i) => sum + packedBytes(layer, bits[i] ?? 32), 0);
  const narrow = layers.some((layer) => layer.widths.some((w) => w < 8));
  return allocated(model, ground, bits, round, reason, [
    `layers take ${((100 * total('milliseconds')) / whole).toFixed(0)} % of their time in float at batch 1, ${(size / parameters).toFixed(2)} bits a weight; expected at the output ${dB(total('damage'))} from weights alone`,
    ...(narrow ? [`${packed} bytes of packed weights`] : []),
  ]);
}

/** The least damage with size and time within their limits; without a time limit the least time, then the least damage. */
function choose(ways: readonly (readonly Way[])[], size: number, time: number | undefined, lenient: boolean): number[] {
  const solve = (lambda: number): { chosen: number[]; time: number } => {
    const { chosen } = knapsack(
      ways.map((list) =>
        list.map((way) => ({ cost: way.size, damage: Math.max(0, way.damage) + lambda * way.milliseconds })),
      ),
      size,
    );
    return { chosen, time: chosen.reduce((sum, k, i) => sum + (ways[i]?.[k]?.milliseconds ?? 0), 0) };
  };
  // Damages are shares of the signal's power, times are milliseconds: this price makes a microsecond dearer than any damage.
  const steep = 1e6;
  const fastest = solve(steep);
  if (time === undefined || (lenient && fastest.time > time)) return fastest.chosen;
  if (fastest.time > time)
    throw new QtoolError(
      'schedule',
      `a latency of ${time.toFixed(3)} ms cannot be reached: the fastest take ${fastest.time.toFixed(3)} ms`,
      {
        hint: 'allow float layers, more bytes, or a larger share of the time in float',
      },
    );
  const free = solve(0);
  if (free.time <= time) return free.chosen;
  let [low, high, best] = [1e-9, steep, fastest.chosen];
  for (let i = 0; i < 50; i++) {
    const middle = Math.sqrt(low * high);
    const got = solve(middle);
    if (got.time <= time) [high, best] = [middle, got.chosen];
    else low = middle;
  }
  return best;
}
