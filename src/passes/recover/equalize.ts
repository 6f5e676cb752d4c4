import * as z from 'zod';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { layerName } from '../../graph/query.ts';
import { floatData } from '../../graph/tensor.ts';
import type { ChannelStats } from '../../numerics/channel_stats.ts';
import { equalizingScales, type EqualizationRow } from '../../numerics/equalization.ts';
import { replaceLinear, scaledWeight, type LinearLayer } from '../fold/linear.ts';
import { channelStatistics, notFiniteText } from '../channel_statistics.ts';
import { leftAlone, type Note, type Pass, type PassContext, type PassResult } from '../pass.ts';
import { beforeQuantizer } from './before_quantizer.ts';
import { channelAxis, current, layerPairs, ofInputs, type LayerPair } from './pairs.ts';
import { given, must } from '../../util/must.ts';

const options = z.strictObject({
  method: z.enum(['noise', 'range']).default('noise').meta({
    description:
      'noise: least expected noise of per-channel weights and activations together; range: equal ranges of both weights (for one scale a tensor)',
  }),
  samples: z.number().int().positive().default(512).meta({ description: 'calibration samples' }),
  headroom: z
    .number()
    .min(1)
    .default(1.2)
    .meta({ description: 'how far a scaled-up channel stays below the largest one' }),
  bits_weights: z.number().int().min(2).max(16).default(8).meta({ description: 'bits the quantizer will use' }),
  bits_activations: z.number().int().min(2).max(16).default(8),
});

type EqualizeOptions = z.infer<typeof options>;

/**
 * Cross-layer equalization: moves a positive factor a channel from one layer to the next, through what lies between, so that the
 * model computes the same and quantizes better. Under a Clip, channels that reach its bound keep their scale and no other is
 * scaled to reach it on the calibration data; where no channel reaches it, the Clip becomes a Relu.
 */
export const equalize: Pass<EqualizeOptions> = {
  name: 'recover/equalize',
  section: 'extensions',
  precedes: 'quantizers',
  classes: ['CrossLayerEqualization'],
  summary: 'scales channels between layers, the function unchanged, so that they quantize better; before the quantizer',
  source:
    'Nagel et al. 2019, Data-Free Quantization (arXiv 1906.04721), section 4.1; Meller et al. 2019 (arXiv 1902.01917)',
  options,
  inBodies: { unseen: leftAlone },
  apply: (model, o, ctx) => beforeQuantizer(model, ctx, (prepared) => apply(prepared, o, ctx)),
};

async function apply(model: Model, o: EqualizeOptions, ctx: PassContext): Promise<PassResult> {
  const found = layerPairs(model, await ctx.shapes(model));
  const stats = await pairStats(model, found.pairs, o, ctx);
  const skipped = [...found.skipped];
  const pairs = found.pairs.filter((pair) => {
    const missing = seenOf(pair).find(([value]) => !stats.has(value));
    if (missing) skipped.push({ layer: layerName(pair.producer.node), text: notFiniteText(missing[0]) });
    return !missing;
  });
  const changed: Note[] = [];
  let now = model;
  const factors = new Map<LayerPair, Float64Array>();
  // By ranges each pair changes what its neighbours see, so that several rounds are needed until nothing moves.
  for (let round = 0; round < (o.method === 'range' ? 20 : 1); round++) {
    let largest = 0;
    for (const pair of pairs) {
      ctx.signal.throwIfAborted();
      const before = factors.get(pair);
      const s = o.method === 'range' ? rangeScales(now, pair, stats, o, before) : noiseScales(pair, stats, o);
      factors.set(pair, before ? s.map((v, c) => v * before[c]!) : s);
      now = scaled(now, pair, s);
      largest = s.reduce((m, v) => Math.max(m, Math.abs(Math.log(v))), largest);
    }
    if (largest < 1e-3) break;
  }
  for (const pair of pairs) {
    const s = factors.get(pair) ?? new Float64Array();
    const opened = pair.clip && !clips(pair, stats).some(Boolean);
    if (opened) now = openClip(now, pair);
    const text = `channels scaled by ${round3(Math.min(...s))} … ${round3(Math.max(...s))} for "${pair.consumers.map((c) => layerName(c.layer.node)).join('", "')}"`;
    changed.push({
      layer: layerName(pair.producer.node),
      text: opened ? `${text}; Clip never reached, now Relu` : text,
    });
  }
  return { model: now, changed, skipped };
}

const round3 = (v: number): string => Number(v.toPrecision(3)).toString();

type Stats = ReadonlyMap<string, ChannelStats>;

const pairStats = (model: Model, pairs: readonly LayerPair[], o: EqualizeOptions, ctx: PassContext): Promise<Stats> =>
  channelStatistics(ctx, model, new Map(pairs.flatMap(seenOf)), o.samples);

/** The values whose statistics a pair needs, with the axes of their channels. */
const seenOf = ({ producer, consumers, before, value }: LayerPair): [string, number][] => [
  [before, channelAxis(producer.node)],
  [value, channelAxis(producer.node)],
  ...consumers.map(({ layer }): [string, number] => [layer.node.output[0] ?? '', channelAxis(layer.node)]),
];

/** Which channels reach the bound of the Clip between. */
function clips({ before, clip }: LayerPair, stats: Stats): boolean[] {
  const max = must(stats, before, 'the statistics of').max;
  return Array.from(max, (m) => clip !== undefined && m >= clip.max);
}

function noiseScales(pair: LayerPair, stats: Stats, o: EqualizeOptions): Float64Array {
  const { value, producer } = pair;
  const seen = must(stats, value, 'the statistics of');
  const repeat = pair.consumers[0]?.repeat ?? 1;
  const [peak, power] = [new Float64Array(producer.outputs), new Float64Array(producer.outputs)];
  for (let k = 0; k < seen.channels; k++) {
    const c = Math.floor(k / repeat);
    peak[c] = Math.max(peak[c]!, seen.max[k]!, -seen.min[k]!);
    power[c] = power[c]! + seen.sumSquares[k]! / (seen.count * repeat);
  }
  return equalizingScales({
    power,
    peak,
    fixed: clips(pair, stats),
    rows: pair.consumers.flatMap((consumer) =>
      rowsOf(consumer.layer, consumer.repeat, must(stats, consumer.layer.node.output[0] ?? '', 'the statistics of')),
    ),
    headroom: o.headroom,
    bitsWeights: o.bits_weights,
    bitsActivations: o.bits_activations,
  });
}

/** The weights of a layer by output, and of each output by the channels it reads. */
function rowsOf(layer: LinearLayer, repeat: number, outputs: ChannelStats): EqualizationRow[] {
  const weights = floatData(layer.weight);
  const rows: { first: number; last: number; elements: number[] }[] = [];
  weights.forEach((_, i) => {
    const c = Math.floor(layer.inputOf(i) / repeat);
    const row = (rows[layer.outputOf(i)] ??= { first: c, last: c, elements: [] });
    row.first = Math.min(row.first, c);
    row.last = Math.max(row.last, c);
    row.elements.push(i);
  });
  return rows.map(({ first, last, elements }, o) => {
    const width = last - first + 1;
    const [largest, squares] = [new Float64Array(width), new Float64Array(width)];
    for (const i of elements) {
      const at = Math.floor(layer.inputOf(i) / repeat) - first;
      const w = weights[i]!;
      largest[at] = Math.max(largest[at]!, Math.abs(w));
      squares[at] = squares[at]! + w * w;
    }
    const mean = outputs.sum[o]! / outputs.count;
    const variance = outputs.sumSquares[o]! / outputs.count - mean * mean;
    return { first, largest, squares, taps: elements.length / width, power: Math.max(variance, 1e-12) };
  });
}

/**
 * s = √(range read / range made): both weights get the same range in every channel (equation 11 of the paper). Where some
 * channels reach the Clip's bound, the others stay below it, with what they were scaled by `before`.
 */
function rangeScales(
  model: Model,
  pair: LayerPair,
  stats: Stats,
  o: EqualizeOptions,
  before: Float64Array | undefined,
): Float64Array {
  const producer = current(model, pair.producer);
  const [made, read] = [new Float64Array(producer.outputs), new Float64Array(producer.outputs)];
  floatData(producer.weight).forEach((w, i) => {
    const c = producer.outputOf(i);
    made[c] = Math.max(made[c]!, Math.abs(w));
  });
  for (const consumer of pair.consumers) {
    const layer = current(model, consumer.layer);
    floatData(layer.weight).forEach((w, i) => {
      const c = Math.floor(layer.inputOf(i) / consumer.repeat);
      read[c] = Math.max(read[c]!, Math.abs(w));
    });
  }
  const fixed = clips(pair, stats);
  const bound = fixed.some(Boolean) ? (pair.clip?.max ?? Infinity) : Infinity;
  const peak = must(stats, pair.before, 'the statistics of').max;
  return made.map((m, c) => {
    if (fixed[c] || m === 0 || read[c] === 0) return 1;
    const limit = bound / o.headroom / Math.max(0, peak[c]!) / (before?.[c] ?? 1);
    return Math.min(Math.sqrt(read[c]! / m), Math.max(limit, 1 / (before?.[c] ?? 1)));
  });
}

/** The same function with the pair's channels scaled. */
function scaled(model: Model, pair: LayerPair, s: Float64Array): Model {
  if (s.every((v) => v === 1)) return model;
  return edit(model, (draft) => {
    const producer = current(model, pair.producer);
    replaceLinear(draft, model, producer, {
      weight: scaledWeight(producer, s, 'outputs'),
      bias: producer.bias.map((b, c) => b * s[c]!),
    });
    for (const consumer of pair.consumers) {
      const layer = current(model, consumer.layer);
      const inverse = ofInputs(consumer, s).map((v) => 1 / v);
      replaceLinear(draft, model, layer, { weight: scaledWeight(layer, inverse, 'inputs') });
    }
  });
}

function openClip(model: Model, { clip }: LayerPair): Model {
  return edit(model, (draft) => {
    const node = given(
      draft.nodes().find((n) => n.output[0] === clip?.node.output[0]),
      'the Clip of a pair',
    );
    draft.update(node, { op_type: 'Relu', input: node.input.slice(0, 1), attribute: [] });
  });
}
