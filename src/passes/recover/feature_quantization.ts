import * as z from 'zod';
import { edit, type Draft } from '../../graph/edit.ts';
import { makeNode } from '../../graph/build.ts';
import type { Model } from '../../graph/model.ts';
import { assignNames, layerFacts } from '../../graph/names.ts';
import { productOf } from '../../graph/ops.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { consumers, isOp, layerName } from '../../graph/query.ts';
import { makeTensor } from '../../graph/tensor.ts';
import type { ChannelStats } from '../../numerics/channel_stats.ts';
import { given } from '../../util/must.ts';
import { channelStatistics, notFiniteText } from '../channel_statistics.ts';
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';

const options = z
  .strictObject({
    layers: z.array(z.string()).min(1).default(['*']).meta({ description: 'layers to look at; names or patterns' }),
    resolution: z.number().positive().max(1e6).optional().meta({ description: 'steps of the floor function a unit' }),
    nearest: z.boolean().default(false).meta({ description: 'to the nearest step, not the one below' }),
    exponent: z.number().positive().max(4).optional().meta({ description: 'of the power function' }),
    unit: z
      .enum(['rms', 'one'])
      .default('rms')
      .meta({ description: 'what counts as 1: the root mean square of the features on the calibration data, or 1' }),
    after: z
      .enum(['layer', 'activation'])
      .default('layer')
      .meta({ description: 'whose output: of the layer itself, or of the norm and activation that follow' }),
    samples: z.number().int().positive().default(512).meta({ description: 'calibration samples' }),
  })
  .refine((o) => o.resolution !== undefined || o.exponent !== undefined, {
    message: 'there is nothing to do: give resolution (floor function), exponent (power function) or both',
  })
  .refine((o) => !o.nearest || o.resolution !== undefined, {
    message: 'nearest says how resolution rounds: give it too',
  });

type FeatureOptions = z.infer<typeof options>;

/**
 * Feature quantization: a floor function, y = ⌊r·x⌋ / r, and a power function, y = sign(x)·|x|^α, on the outputs of layers, x counted in
 * units of their root mean square so that features of that size keep it. The paper trains with them; this puts them into a model as it is.
 */
export const featureQuantization: Pass<FeatureOptions> = {
  name: 'recover/feature_quantization',
  section: 'extensions',
  classes: ['FeatureQuantization'],
  summary: 'puts a floor or power function behind layers, against distortion of the input',
  source: 'Sun et al. 2018, Feature Quantization for Defending Against Distortion of Images (CVPR)',
  options,
  selectors: (o) => o.layers.map((pattern, i) => ({ pattern, path: ['layers', i], over: 'layers' })),
  apply,
};

async function apply(model: Model, o: FeatureOptions, ctx: PassContext): Promise<PassResult> {
  const { nodes, notes } = assignNames(o.layers, layerFacts(model), 'layers');
  const shapes = await ctx.shapes(model);
  const places = model.graph.node
    .filter((node) => nodes.has(layerName(node)) && productOf(node) !== undefined)
    .map((node) => ({
      ...{ layer: layerName(node), value: featureOf(model, node, o.after) },
      axis: isOp(node, 'Conv', 'ConvTranspose') ? 1 : -1,
    }));
  const why = ({ value }: { readonly value: string }): string | undefined =>
    shapes.get(value)?.type === 'float32' ? obstacle(model, value) : 'its output is not float32';
  const free = places.filter((place) => why(place) === undefined);
  const skipped: Note[] = places.flatMap((place) => {
    const text = why(place);
    return text === undefined ? [] : [{ layer: place.layer, text }];
  });
  const seen =
    o.unit === 'one'
      ? undefined
      : await channelStatistics(ctx, model, new Map(free.map(({ value, axis }) => [value, axis])), o.samples);
  const changed: Note[] = [];
  const next = edit(model, (draft) => {
    for (const { layer, value } of new Map(free.map((place) => [place.value, place])).values()) {
      const stats = seen?.get(value);
      const unit = seen === undefined ? 1 : stats && rms(stats);
      if (unit === undefined || unit === 0) {
        skipped.push({ layer, text: unit === 0 ? 'its features are all zero' : notFiniteText(value) });
        continue;
      }
      insert(draft, value, unit, o);
      changed.push({ layer, text: told(o, unit) });
    }
  });
  return { model: next, changed, skipped, notes };
}

/** The output of a layer, or of the chain of norm and activation that alone reads it. */
function featureOf(model: Model, node: NodeProto, after: FeatureOptions['after']): string {
  const readers = consumers(model.graph);
  let value = given(node.output[0], 'an output');
  while (after === 'activation') {
    const [reader, ...others] = readers.get(value) ?? [];
    const follows = reader !== undefined && isOp(reader, 'BatchNormalization', 'Relu', 'LeakyRelu', 'PRelu', 'Clip');
    if (!follows || others.length > 0 || reader.input[0] !== value) break;
    value = given(reader.output[0], 'an output');
  }
  return value;
}

/** Why the readers of a value cannot read another; undefined where they can. */
function obstacle({ graph }: Model, value: string): string | undefined {
  if (graph.output.some(({ name }) => name === value)) return 'its output is an output of the model';
  const readers = consumers(graph).get(value) ?? [];
  if (readers.some((node) => isOp(node, 'QuantizeLinear', 'DynamicQuantizeLinear')))
    return 'its output is quantized: this belongs before the quantizer';
  return readers.some((node) => !node.input.includes(value)) ? 'a body reads its output' : undefined;
}

function rms({ channels, count, sumSquares }: ChannelStats): number {
  return Math.sqrt(sumSquares.reduce((a, b) => a + b, 0) / (channels * count));
}

/** Puts the functions behind a value, for all that read it. */
function insert(draft: Draft, value: string, unit: number, { resolution, nearest, exponent }: FeatureOptions): void {
  const readers = draft.nodes().filter((node) => node.input.includes(value));
  const constant = (hint: string, number: number): string =>
    draft.add(`${value}_${hint}`, makeTensor(hint, 'float32', [], Float32Array.of(number)));
  const op = (type: string, ...input: string[]): string => {
    const made = draft.freshName(`${value}_${type.toLowerCase()}`);
    draft.addNode(makeNode(type, input, [made], {}, { name: made }));
    return made;
  };
  let now = value;
  if (resolution !== undefined) {
    const steps = constant('resolution', resolution / unit);
    const many = op('Mul', now, steps);
    now = op('Div', op('Floor', nearest ? op('Add', many, constant('half', 0.5)) : many), steps);
  }
  if (exponent !== undefined) {
    const power = op('Pow', op('Abs', now), constant('exponent', exponent));
    const signed = op('Mul', power, op('Sign', now));
    now = unit === 1 ? signed : op('Mul', signed, constant('unit', unit ** (1 - exponent)));
  }
  for (const node of readers) draft.update(node, { input: node.input.map((name) => (name === value ? now : name)) });
}

function told({ resolution, nearest, exponent }: FeatureOptions, unit: number): string {
  const short = (number: number): string => String(Number(number.toPrecision(3)));
  const floor = resolution === undefined ? [] : [`its output goes to ${nearest ? 'the nearest multiple' : 'the multiple below'} of ${short(unit / resolution)}`]; // prettier-ignore
  const power = exponent === undefined ? [] : [`its magnitude to the power of ${exponent} in units of ${short(unit)}`];
  return [...floor, ...power].join(', ');
}
