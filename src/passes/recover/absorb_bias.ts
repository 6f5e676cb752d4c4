import * as z from 'zod';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { intsAttribute, stringAttribute } from '../../graph/attribute.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { isOp, layerName } from '../../graph/query.ts';
import { replaceLinear, response } from '../fold/linear.ts';
import { channelStatistics, notFiniteText } from '../channel_statistics.ts';
import { leftAlone, type Note, type Pass, type PassContext, type PassResult } from '../pass.ts';
import { beforeQuantizer } from './before_quantizer.ts';
import { channelAxis, current, layerPairs, ofInputs, type LayerPair } from './pairs.ts';

const options = z.strictObject({
  samples: z.number().int().positive().default(512).meta({ description: 'calibration samples' }),
});

type AbsorbOptions = z.infer<typeof options>;

/**
 * Bias absorption: where a channel is never below some c > 0 before its Relu, c goes out of the first layer's bias and, times the
 * weights, into the second's: relu(Wx + b) = relu(Wx + b − c) + c. The range between them shrinks by c. On the calibration data the
 * function is the same; the paper takes c from batch norm statistics (β − 3γ), here it is the smallest value seen.
 */
export const absorbBias: Pass<AbsorbOptions> = {
  name: 'recover/absorb_bias',
  section: 'extensions',
  precedes: 'quantizers',
  classes: ['BiasAbsorption'],
  summary: 'moves what a channel never falls below into the next bias, so that ranges shrink; before the quantizer',
  source: 'Nagel et al. 2019, Data-Free Quantization (arXiv 1906.04721), section 4.1.3',
  options,
  inBodies: { unseen: leftAlone },
  apply: (model, o, ctx) => beforeQuantizer(model, ctx, (prepared) => apply(prepared, o, ctx)),
};

async function apply(model: Model, o: AbsorbOptions, ctx: PassContext): Promise<PassResult> {
  const found = layerPairs(model, await ctx.shapes(model));
  const pairs = found.pairs.filter((pair) => obstacle(pair) === undefined);
  const skipped: Note[] = [...found.skipped];
  for (const pair of found.pairs) {
    const text = obstacle(pair);
    if (text !== undefined) skipped.push({ layer: layerName(pair.producer.node), text });
  }
  const axes = new Map(pairs.map(({ before, producer }) => [before, channelAxis(producer.node)]));
  const seen = await channelStatistics(ctx, model, axes, o.samples);
  const changed: Note[] = [];
  let now = model;
  for (const pair of pairs) {
    const stats = seen.get(pair.before);
    if (!stats) {
      skipped.push({ layer: layerName(pair.producer.node), text: notFiniteText(pair.before) });
      continue;
    }
    // A channel that reaches a Clip's bound would be cut at another place.
    const shift = stats.min.map((low, c) => (pair.clip && stats.max[c]! >= pair.clip.max ? 0 : Math.max(0, low)));
    const count = shift.filter((c) => c > 0).length;
    if (count === 0) skipped.push({ layer: layerName(pair.producer.node), text: 'every channel comes down to 0' });
    else {
      now = absorbed(now, pair, shift);
      const readers = pair.consumers.map((c) => layerName(c.layer.node)).join('", "');
      changed.push({
        layer: layerName(pair.producer.node),
        text: `up to ${Number(Math.max(...shift).toPrecision(3))} of ${count} biases went into "${readers}"`,
      });
    }
  }
  return { model: now, changed, skipped };
}

/** Why a constant cannot pass from one layer to the next. */
function obstacle({ producer, between, consumers }: LayerPair): string | undefined {
  const bare = [producer, ...consumers.map((c) => c.layer)].find((layer) => isOp(layer.node, 'MatMul'));
  if (bare) return `MatMul "${layerName(bare.node)}" has no bias`;
  const shifting = between.find(
    (node) => !isOp(node, 'Relu', 'Clip', 'MaxPool', 'GlobalAveragePool', 'Flatten', 'Identity'),
  );
  if (shifting) return `${shifting.op_type} "${layerName(shifting)}" does not pass constants on`;
  if (!between.some((node) => isOp(node, 'Relu', 'Clip'))) return 'no Relu or Clip follows';
  const border = consumers.find(({ layer }) => padded(layer.node));
  // At the border zeros are added, which would then stand for c.
  return border && `"${layerName(border.layer.node)}" pads its input with zeros`;
}

function padded(node: NodeProto): boolean {
  if (!isOp(node, 'Conv', 'ConvTranspose')) return false;
  if (isOp(node, 'ConvTranspose')) return true;
  const same = stringAttribute(node, 'auto_pad', 'NOTSET').startsWith('SAME');
  return same || (intsAttribute(node, 'pads') ?? []).some((pad) => pad !== 0);
}

function absorbed(model: Model, pair: LayerPair, shift: Float64Array): Model {
  return edit(model, (draft) => {
    const producer = current(model, pair.producer);
    replaceLinear(draft, model, producer, { bias: producer.bias.map((b, c) => b - shift[c]!) });
    for (const consumer of pair.consumers) {
      const layer = current(model, consumer.layer);
      const added = response(layer, ofInputs(consumer, shift));
      replaceLinear(draft, model, layer, { bias: layer.bias.map((b, c) => b + added[c]!) });
    }
  });
}
