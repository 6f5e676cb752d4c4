import * as z from 'zod';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { assignNames, layerFacts } from '../../graph/names.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { consumers, initializers, isOp, layerName, producers } from '../../graph/query.ts';
import { dimsOf, floatData, makeTensor, typeOf } from '../../graph/tensor.ts';
import type { ChannelStats } from '../../numerics/channel_stats.ts';
import { channelStatistics, notFiniteText } from '../channel_statistics.ts';
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';

const options = z.strictObject({
  layers: z.array(z.string()).min(1).default(['*']).meta({ description: 'layers to look at; names or patterns' }),
  samples: z.int().positive().default(512).meta({ description: 'calibration samples' }),
});

type ReestimateOptions = z.infer<typeof options>;

/**
 * After pruning: batch norms get the mean and variance that their inputs have now, and the bias of every layer whose output has
 * the channels it had in the float model takes back what its mean has moved. Front to back, each with those before it mended.
 */
export const reestimate: Pass<ReestimateOptions> = {
  name: 'recover/reestimate',
  section: 'extensions',
  follows: 'pruners',
  classes: ['Reestimation'],
  summary:
    'gives batch norms the statistics of their inputs and layers the mean output of the float model; after a pruner',
  source: 'Li et al. 2020, EagleEye (arXiv 2007.02491): adaptive batch normalization',
  options,
  selectors: (o) => o.layers.map((pattern, i) => ({ pattern, path: ['layers', i], over: 'layers' })),
  apply,
};

async function apply(model: Model, o: ReestimateOptions, ctx: PassContext): Promise<PassResult> {
  const { nodes, notes } = assignNames(o.layers, layerFacts(model), 'layers');
  const found = targets(model, nodes);
  const made = producers(ctx.reference.graph);
  const there = found.filter(({ kind, why, value }) => kind === 'bias' && !why && made.has(value));
  const values = there.map(({ value }) => value);
  const float = await statistics(ctx, ctx.reference, values, o.samples);
  const changed: Note[] = [];
  const skipped: Note[] = found.flatMap(({ node, why }) => (why ? [{ layer: layerName(node), text: why }] : []));
  let now = model;
  const usable = found.filter(({ why }) => !why);
  for (const [i, target] of usable.entries()) {
    ctx.signal.throwIfAborted();
    ctx.progress(i / usable.length, `re-estimating ${layerName(target.node)}`);
    const stats = (await statistics(ctx, now, [target.value], o.samples)).get(target.value);
    const before = float.get(target.value);
    if (!stats || (target.kind === 'bias' && made.has(target.value) && !before)) {
      skipped.push({ layer: layerName(target.node), text: notFiniteText(target.value) });
      continue;
    }
    if (target.kind === 'bias' && before?.channels !== stats.channels) {
      skipped.push({ layer: layerName(target.node), text: 'its output has other channels than in the float model' });
      continue;
    }
    const result =
      target.kind === 'norm'
        ? withStatistics(now, target.node, stats)
        : withMean(now, target.node, stats, before as ChannelStats);
    now = result.model;
    changed.push({ layer: layerName(target.node), text: result.text });
  }
  return { model: now, changed, skipped, notes };
}

/** A batch norm, or a layer with a bias; `value` is what is looked at: its input or its output. */
interface Target {
  readonly node: NodeProto;
  readonly kind: 'norm' | 'bias';
  readonly value: string;
  readonly why: string | undefined;
}

function targets(model: Model, chosen: ReadonlyMap<string, string>): Target[] {
  const stored = initializers(model.graph);
  const readers = consumers(model.graph);
  const own = (name: string | undefined): boolean => {
    const tensor = stored.get(name ?? '');
    return tensor !== undefined && typeOf(tensor) === 'float32' && readers.get(tensor.name)?.length === 1;
  };
  return model.graph.node.flatMap((node): Target[] => {
    if (!chosen.has(layerName(node))) return [];
    if (isOp(node, 'BatchNormalization')) {
      const why = own(node.input[3]) && own(node.input[4]) ? undefined : 'its statistics are shared or computed';
      return [{ node, kind: 'norm', value: node.input[0] as string, why }];
    }
    if (!isOp(node, 'Conv', 'ConvTranspose', 'Gemm')) return [];
    const value = node.output[0] as string;
    const normed = (readers.get(value) ?? []).some((reader) => isOp(reader, 'BatchNormalization'));
    // What a bias adds a norm behind it takes out again.
    if (normed) return [];
    const why = own(node.input[2]) ? undefined : 'it has no bias of its own';
    return [{ node, kind: 'bias', value, why }];
  });
}

/** Statistics of values along their channel axis, in one pass over the calibration data. */
const statistics = (
  ctx: PassContext,
  model: Model,
  values: readonly string[],
  samples: number,
): Promise<ReadonlyMap<string, ChannelStats>> =>
  channelStatistics(ctx, model, new Map(values.map((value) => [value, 1])), samples);

interface Mended {
  readonly model: Model;
  readonly text: string;
}

function withStatistics(model: Model, node: NodeProto, stats: ChannelStats): Mended {
  const { count, sum, sumSquares } = stats;
  const mean = Float32Array.from(sum, (s) => s / count);
  const variance = Float32Array.from(sumSquares, (s, c) => Math.max(0, s / count - (sum[c]! / count) ** 2));
  const next = edit(model, (draft) => {
    draft.replace(node.input[3] as string, makeTensor('mean', 'float32', [mean.length], mean));
    draft.replace(node.input[4] as string, makeTensor('variance', 'float32', [variance.length], variance));
  });
  return { model: next, text: `mean and variance of its input taken from ${count} values a channel` };
}

function withMean(model: Model, node: NodeProto, now: ChannelStats, float: ChannelStats): Mended {
  const tensor = initializers(model.graph).get(node.input[2] as string)!;
  const shift = Float64Array.from(now.sum, (s, c) => float.sum[c]! / float.count - s / now.count);
  const bias = floatData(tensor).map((b, c) => b + shift[c]!);
  const most = shift.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  const next = edit(model, (draft) =>
    draft.replace(tensor.name, makeTensor(tensor.name, 'float32', dimsOf(tensor), bias)),
  );
  return { model: next, text: `bias moved by up to ${Number(most.toPrecision(3))}` };
}
