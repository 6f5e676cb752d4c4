import * as z from 'zod';
import { makeNode } from '../../graph/build.ts';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { assignNames, layerFacts } from '../../graph/names.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { consumers, isOp, layerName } from '../../graph/query.ts';
import { makeTensor } from '../../graph/tensor.ts';
import type { ChannelStats } from '../../numerics/channel_stats.ts';
import { productOf } from '../../graph/ops.ts';
import { channelStatistics, notFiniteText } from '../channel_statistics.ts';
import type { Pass } from '../pass.ts';
import { foldEach, type Folded } from './each.ts';
import { linearLayer, replaceLinear, scaledWeight } from './linear.ts';

const options = z.strictObject({
  layers: z.array(z.string()).min(1).optional().meta({ description: 'layers to normalize; names or patterns. Default: every Conv and ConvTranspose' }), // prettier-ignore
  samples: z.int().positive().default(512).meta({ description: 'calibration samples' }),
});

const epsilon = 1e-5;

/**
 * The opposite of FoldBatchNorm: a folded network trains at a far smaller rate than the one it was made from, so layers get a
 * BatchNormalization again that changes nothing. With m and σ² of the layer's output on calibration data, its weights are divided by
 * σ and its bias goes, and the norm has variance 1, mean (m − b)/σ, scale σ·√(1 + ε) and shift m. Channels that hardly vary keep their
 * weights: dividing by next to nothing would make a scale that no step can move.
 */
export const restoreBatchNorm: Pass<z.infer<typeof options>> = {
  name: 'fold/restore_batchnorm',
  section: 'extensions',
  classes: ['RestoreBatchNorm'],
  summary:
    'puts a BatchNormalization that changes nothing behind layers, so that a folded network trains as one with norms',
  source:
    'Salimans and Kingma 2016 (arXiv 1602.07868), section 3: weights and scales begin with the statistics of data',
  options,
  selectors: (o) => (o.layers ?? []).map((pattern, i) => ({ pattern, path: ['layers', i], over: 'layers' })),
  async apply(model, o, ctx) {
    const { nodes, notes } = assignNames(o.layers ?? ['*'], layerFacts(model), 'layers');
    const ops = o.layers ? ['Conv', 'ConvTranspose', 'Gemm'] : ['Conv', 'ConvTranspose'];
    const chosen = model.graph.node.filter((node) => isOp(node, ...ops) && nodes.has(layerName(node)));
    const fit = chosen.filter((node) => whyNot(model, node) === undefined);
    const stats = await channelStatistics(ctx, model, new Map(fit.map((node) => [outputOf(node), 1])), o.samples);
    const result = foldEach(model, chosen, (now, node) => {
      const why = whyNot(model, node);
      if (why !== undefined) return why;
      const found = stats.get(outputOf(node));
      return found ? normalized(now, node, found) : notFiniteText(outputOf(node));
    });
    return { ...result, notes };
  },
};

const outputOf = (node: NodeProto): string => node.output[0] ?? '';

function whyNot(model: Model, node: NodeProto): string | undefined {
  const layer = linearLayer(model, node);
  if (typeof layer === 'string') return layer;
  if (model.graph.output.some(({ name }) => name === outputOf(node))) return 'its output is one of the model, which nothing normalizes'; // prettier-ignore
  const readers = consumers(model.graph).get(outputOf(node)) ?? [];
  return readers.some((reader) => isOp(reader, 'BatchNormalization')) ? 'a BatchNormalization reads it already' : undefined; // prettier-ignore
}

function normalized(model: Model, node: NodeProto, { count, sum, sumSquares }: ChannelStats): Folded {
  const layer = linearLayer(model, node);
  if (typeof layer === 'string') return layer;
  const mean = Float64Array.from(sum, (s) => s / count);
  const variance = Float64Array.from(sumSquares, (s, c) => Math.max(0, s / count - mean[c]! ** 2));
  const least = 1e-6 * variance.reduce((a, b) => Math.max(a, b), 0);
  const deviation = variance.map((v) => (v > least ? Math.sqrt(v) : 1));
  const weight = scaledWeight(layer, deviation.map((d) => 1 / d), 'outputs'); // prettier-ignore
  const own = deviation.map((d, c) => variance[c]! / d ** 2);
  const parts = {
    scale: deviation.map((d, c) => d * Math.sqrt(own[c]! + epsilon)),
    shift: mean,
    mean: mean.map((m, c) => (m - layer.bias[c]!) / deviation[c]!),
    variance: own,
  };
  const next = edit(model, (draft) => {
    const inner = draft.freshName(`${outputOf(node)}_unnormalized`);
    replaceLinear(draft, model, layer, { weight, output: inner });
    draft.update(node, { input: draft.current(node).input.filter((_, i) => i !== productOf(node)?.bias) });
    const names = Object.entries(parts).map(([what, data]) =>
      draft.add(`${layerName(node)}_norm.${what}`, makeTensor('', 'float32', [data.length], Float32Array.from(data))),
    );
    draft.addNode(makeNode('BatchNormalization', [inner, ...names], [outputOf(node)], { epsilon: { float: epsilon } }, { name: draft.freshName(`${layerName(node)}_norm`) })); // prettier-ignore
  });
  const still = deviation.filter((_, c) => variance[c]! <= least).length;
  return { model: next, text: `a BatchNormalization behind it, from ${count} values a channel${still > 0 ? `; ${still} channels hardly vary` : ''}` }; // prettier-ignore
}
