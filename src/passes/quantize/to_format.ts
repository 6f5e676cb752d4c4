import * as z from 'zod';
import { intAttribute } from '../../graph/attribute.ts';
import { edit, type Draft } from '../../graph/edit.ts';
import type { Layer } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import { consumers, isOp, layerName, opset } from '../../graph/query.ts';
import { makeTensor } from '../../graph/tensor.ts';
import { sqnr } from '../../numerics/error.ts';
import type { BoundFormat, Sharing } from '../../numerics/formats/format.ts';
import { described } from '../../numerics/formats/options.ts';
import { heldBy, writtenFormat } from '../../numerics/formats/written.ts';
import { prepare } from '../fold/prepare.ts';
import { noteLine, type HeldLayer, type Note, type Pass, type PassContext, type PassResult } from '../pass.ts';
import { formatRoundings, type FormatRounding } from './format_rounding.ts';
import { fitWeights, type HeldWeight, type WeightFit } from './format_weights.ts';
import { overrideSelectors, resolveOverrides } from './formats.ts';
import { replaceInput } from './qdq.ts';
import { addBlockRounding, addRounding } from './rounded_value.ts';
import { storages, storeFormat, type FormatStorage } from './stored_format.ts';
import { weightLayers } from './targets.ts';
import { valueGrids } from './value_grids.ts';

const float = z.union([z.literal('float'), z.null()]).transform(() => null);
const format = z.union([float, writtenFormat]);
const ofWeights = format.superRefine(heldBy('notWeights'));
const sharing = z.union([z.enum(['tensor', 'channel', 'row', 'pixel']), z.strictObject({ group: z.int().min(1) })]);
const sharingOption = sharing.optional().meta({
  description:
    "which weights share parameters: tensor, channel (of the output), row or pixel of the kernels, { group: n } neighbours; the format's own way if not given",
});
const activations = format.superRefine(heldBy('notActivations')).meta({
  description: 'format of what a layer reads: one scale for the tensor, fitted on calibration data; or float',
});

const ofLayer = z.strictObject({
  format: ofWeights.optional().meta({ description: 'format of the weights, or float' }),
  activations: activations.optional(),
  sharing: sharingOption,
  // What a fallback raises a layer to.
  bits_weights: float.optional().meta({ description: 'float: neither weights nor input are held in a format' }),
});

const options = z.strictObject({
  format: ofWeights.default(null).meta({
    description: 'format of the weights: a name (nf4), name:option=value,… or a mapping with name; or float',
  }),
  activations: activations.default(null),
  sharing: sharingOption,
  importance: z.enum(['none', 'inputs']).default('none').meta({
    description:
      'what an error of a weight counts when its format is fitted: all alike, or the mean square of its input',
  }),
  rounding: z
    .enum(Object.keys(formatRoundings) as [FormatRounding, ...FormatRounding[]])
    .default('nearest')
    .meta({ description: `how the value of a weight is chosen; ${described(formatRoundings)}` }),
  refit: z.boolean().default(false).meta({
    description:
      "fit scales to the layer's output too, in turns with descent (two-step quantization), after a rounding that is not nearest",
  }),
  damping: z.number().positive().default(0.01).meta({
    description: 'pull towards the float weights, as a share of the mean input power, where rounding is not nearest',
  }),
  order: z
    .enum(['natural', 'activation'])
    .default('activation')
    .meta({ description: 'which weights gptq rounds first' }),
  samples: z.int().positive().default(256).meta({
    description: 'calibration samples of activations, importance and rounding',
  }),
  storage: z
    .enum(Object.keys(storages) as [FormatStorage, ...FormatStorage[]])
    .default('codes')
    .meta({ description: `how weights lie in the file; ${described(storages)}` }),
  overrides: z.record(z.string(), ofLayer).default({}),
});

export type FormatOptions = z.infer<typeof options>;

/**
 * Any number format for weights and for what layers read (docs/formats.md). Weights are stored as codes with the nodes that decode them
 * when a session is created; activations are rounded by standard operators on the way. What onnxruntime runs is what a device with that
 * format would give, in float arithmetic.
 */
export const formatQuantizer: Pass<FormatOptions> = {
  name: 'quantize/to_format',
  section: 'quantizers',
  classes: ['FormatQuantizer'],
  summary: 'weights and activations in any number format: floats of few bits, powers of two, ternary, codebooks',
  source: "each format's own: docs/formats.md; TensorQuant: Loroch et al. 2017 (arXiv 1710.05758)",
  options,
  selectors: overrideSelectors,
  inBodies: {
    unseen: (o) => ({
      apply: (body, ctx) =>
        apply(body, { ...o, activations: null, importance: 'none', rounding: 'nearest', refit: false }, ctx),
      text: 'weights are rounded there to the nearest and activations stay float',
    }),
  },
  strength: {
    levels: (o) => Array.from({ length: 1 + settings(o) }, (_, i) => 1 - i / mostSettings),
    at: (o, t) => {
      const steps = Math.round((1 - t) * mostSettings);
      return {
        ...o,
        format: o.format && finer(o.format, steps),
        activations: o.activations && finer(o.activations, steps),
      };
    },
    describe: (o) => `weights ${o.format?.label ?? 'float'}, activations ${o.activations?.label ?? 'float'}`,
  },
  apply,
};

/** More settings of a format than any has: 16 bits are the widest. */
const mostSettings = 16;

/** A format some steps finer, or the finest that it has. */
function finer(format: BoundFormat, steps: number): BoundFormat {
  const next = steps > 0 ? format.finer() : undefined;
  return next === undefined ? format : finer(next, steps - 1);
}

/** How many finer settings weights and activations have, whichever has more of them. */
const settings = ({ format, activations }: Pick<FormatOptions, 'format' | 'activations'>): number => Math.max(...[format, activations].map((one) => (one ? stepsOf(one) : 0))); // prettier-ignore

function stepsOf(format: BoundFormat): number {
  const next = format.finer();
  return next === undefined ? 0 : 1 + stepsOf(next);
}

/** The operator set whose Cast reads 8-bit floats. */
const floatTypesOpset = 19;

async function apply(model: Model, o: FormatOptions, ctx: PassContext): Promise<PassResult> {
  const prepared = await prepare(model, ctx, o.storage === 'onnx' ? floatTypesOpset : 13);
  const twin = prepared.model;
  const { layers, skipped } = weightLayers(twin);
  const wanted = requests(o, twin, ctx);
  const apart = readInFloat(twin, layers, wanted);
  const asked = (layer: Layer): Request => (apart.has(layer) ? { ...wanted(layer), weights: null } : wanted(layer));
  const weights = weightsOf(layers, asked);
  const left: Note[] = [...skipped];
  for (const layer of layers)
    if (asked(layer).weights === null)
      left.push({ layer: layer.name, text: apart.get(layer) ?? 'weights left in float by the schedule' });
  const fits = await fitsOf(model, twin, [...weights], o, ctx);
  const values = valuesOf(layers, asked);
  const grids = await valueGrids(twin, values, o.samples, ctx);
  const shapes = values.some(({ format }) => format.runTimeBlock !== undefined) ? await ctx.shapes(twin) : undefined;
  const changed: Note[] = [];
  const quantized = edit(twin, (draft) => {
    for (const fit of fits) changed.push(...store(draft, fit, layers, o.storage, (layer) => keyOf(layer, asked)));
    for (const [i, { value, format: one, axis: from, readers }] of values.entries()) {
      const grid = grids[i];
      const note = (text: string) => readers.map((layer) => ({ layer: layer.name, text }));
      if (grid === undefined) {
        left.push(...note(`its input "${value}" is not finite on the calibration data, and stays in float`));
        continue;
      }
      const dims = shapes?.get(value)?.dims ?? [];
      const axis = from < 0 ? from + dims.length : from;
      const rounded = 'block' in grid ? addBlockRounding(draft, { value, rank: dims.length, axis, length: dims[axis] ?? 1, opset: opset(twin) }, grid) : addRounding(draft, value, grid); // prettier-ignore
      for (const { node, product } of readers) replaceInput(draft, node, product.data, rounded);
      if ('block' in grid) {
        const short = (dims[axis] ?? 1) % grid.block === 0 ? '' : ', the last filled up with zeros';
        changed.push(...note(`input "${value}" rounded to ${one.label}: blocks of ${grid.block} along axis ${axis}${short}, their scales found at run time`)); // prettier-ignore
        continue;
      }
      const { levels } = grid;
      const range = `${shortly(levels[0]!)} … ${shortly(levels.at(-1)!)}`;
      changed.push(...note(`input "${value}" rounded to ${one.label}: ${levels.length} levels, ${range}`));
    }
  });
  const held = heldLayers(layers, asked, new Set(values.filter((_, i) => grids[i]).flatMap(({ readers }) => readers)));
  return { model: quantized, twin, held, changed, skipped: left, notes: prepared.notes.map(noteLine) };
}

/** The weights fitted; those of the same model and options that were fitted for another stage of this instance are taken from its memory. */
async function fitsOf(
  model: Model,
  twin: Model,
  weights: readonly (readonly [string, HeldWeight])[],
  { importance, rounding, refit, damping, order, samples }: FormatOptions,
  ctx: PassContext,
): Promise<WeightFit[]> {
  const o = { importance, rounding, refit, damping, order, samples };
  const key = JSON.stringify([o, weights.map(([name]) => name)]);
  const held = weights.map(([, one]) => one);
  const known = ctx.memory.get('fits') as
    { model: Model; key: string; fits: (WeightFit & { at: number })[] } | undefined;
  if (known?.model === model && known.key === key) return known.fits.map((fit) => ({ ...fit, held: held[fit.at]! }));
  const fits = (await fitWeights(twin, held, o, ctx)).map((fit) => ({ ...fit, at: held.indexOf(fit.held) }));
  ctx.memory.set('fits', { model, key, fits });
  return fits;
}

/** @param rounded layers whose input is rounded. */
function heldLayers(
  layers: readonly Layer[],
  asked: (layer: Layer) => Request,
  rounded: ReadonlySet<Layer>,
): Map<string, HeldLayer> {
  const held = layers.map((layer): [string, HeldLayer] => {
    const { weights, activations: input } = asked(layer);
    const read = input && rounded.has(layer) ? input.label : undefined;
    return [layer.name, { ...(weights ? { weights } : {}), ...(read === undefined ? {} : { activations: read }) }];
  });
  return new Map(held.filter(([, one]) => Object.keys(one).length > 0));
}

const shortly = (v: number): string => Number(v.toPrecision(4)).toString();

/** What a layer is asked to be held in; null: float. */
interface Request {
  readonly weights: BoundFormat | null;
  readonly activations: BoundFormat | null;
  readonly sharing: Sharing | undefined;
}

/** Precedence: overrides > plan > the pass's own options. */
function requests(o: FormatOptions, model: Model, ctx: PassContext): (layer: Layer) => Request {
  const override = resolveOverrides(o.overrides, model);
  return ({ node, name }) => {
    const own = override(node);
    if (own?.bits_weights === null) return { weights: null, activations: null, sharing: undefined };
    const planned = ctx.plan.get(name)?.weights;
    const plan = planned?.kind === 'format' ? planned.format : planned?.kind === 'float' ? null : o.format;
    return {
      weights: own?.format === undefined ? plan : own.format,
      activations: own?.activations === undefined ? o.activations : own.activations,
      sharing: own?.sharing ?? o.sharing,
    };
  };
}

/** Lookups in a table that must stay in float for another of its readers, each with the reason: codes would come on top of it in the file. */
function readInFloat(model: Model, layers: readonly Layer[], wanted: (layer: Layer) => Request): Map<Layer, string> {
  const readers = consumers(model.graph);
  const outputs = new Set(model.graph.output.map(({ name }) => name));
  const held = layers.filter((layer) => wanted(layer).weights !== null);
  const nodes = new Set(held.map(({ node }) => node));
  const found = new Map<Layer, string>();
  for (const layer of held.filter(({ node }) => isOp(node, 'Gather'))) {
    const { name } = layer.weight.tensor;
    const other = readers.get(name)?.find((node) => !nodes.has(node) && !isOp(node, 'Transpose'));
    if (other) found.set(layer, `its table is read by "${layerName(other)}" too, which takes it in float`);
    else if (outputs.has(name)) found.set(layer, 'its table is an output of the model too, in float');
  }
  return found;
}

/** Tells apart what is stored: the tensor and how it is held. */
function keyOf(layer: Layer, asked: (layer: Layer) => Request): string {
  const { weights, sharing: shared } = asked(layer);
  return JSON.stringify([layer.weight.tensor.name, weights?.label, shared ?? null]);
}

/** Each weight that is to be held in a format, once. */
function weightsOf(layers: readonly Layer[], asked: (layer: Layer) => Request): Map<string, HeldWeight> {
  const found = new Map<string, HeldWeight>();
  for (const layer of layers) {
    const { weights, sharing: shared } = asked(layer);
    const key = keyOf(layer, asked);
    if (weights !== null && !found.has(key)) found.set(key, { layer, format: weights, sharing: shared });
  }
  return found;
}

/** Stores a weight and makes every layer read it that asks for the same. A Transpose that makes another layer's weight of it reads it too. */
function store(
  draft: Draft,
  { held, codes, gain, why }: WeightFit,
  layers: readonly Layer[],
  storage: FormatOptions['storage'],
  key: (layer: Layer) => string,
): Note[] {
  const { layer, format: one } = held;
  const { weight } = layer;
  const { name } = weight.tensor;
  const readers = layers.filter((other) => key(other) === key(layer));
  const alone = layers.every((other) => other.weight.tensor.name !== name || readers.includes(other));
  const value =
    storage === 'values'
      ? draft.add(name, makeTensor(name, 'float32', weight.dims, weight.fromRows(codes.values)))
      : storeFormat(draft, name, weight, codes, storage);
  for (const reader of readers) replaceInput(draft, reader.node, reader.input, value);
  if (alone)
    for (const { node, input } of layer.readers) if (isOp(node, 'Transpose')) replaceInput(draft, node, input, value);
  const ratio = sqnr(weight.rows(), codes.values);
  const shared = typeof codes.sharing === 'object' ? `groups of ${codes.sharing.group}` : `one set a ${codes.sharing}`;
  const text = `weights ${one.label} (${one.bits} bits, ${shared}), ${ratio === Infinity ? '∞' : ratio.toFixed(1)} dB${gain === undefined ? '' : `, its output ${gain.toFixed(1)} dB better than by the nearest`}${why ? `; to the nearest: ${why}` : ''}; ${storage === 'values' ? 'stored as float weights' : 'float weights at load time'}`;
  return readers.map((reader) => ({ layer: reader.name, text }));
}

interface RoundedInput {
  readonly value: string;
  readonly format: BoundFormat;
  /** What blocks lie along; below 0 from the end. */
  readonly axis: number;
  readonly readers: Layer[];
}

/** The axis of its input that a layer sums over: blocks of weights lie along the same numbers. */
function summedAxis({ node, product }: Layer): number {
  if (product.as.includes('Conv')) return 1;
  const across =
    product.as === 'Gemm' ? intAttribute(node, 'transA', 0) === 1 : product.as === 'MatMul' && product.data === 1;
  return across ? -2 : -1;
}

/** Each value that is to be rounded, once a format, with the layers that read it rounded. */
function valuesOf(layers: readonly Layer[], asked: (layer: Layer) => Request): RoundedInput[] {
  const found = new Map<string, RoundedInput>();
  for (const layer of layers) {
    const one = asked(layer).activations;
    // A table's rows are looked up by whole numbers.
    if (one === null || isOp(layer.node, 'Gather')) continue;
    const value = layer.node.input[layer.product.data] ?? '';
    const axis = one.runTimeBlock === undefined ? -1 : summedAxis(layer);
    const key = JSON.stringify([value, one.label, axis]);
    const known = found.get(key) ?? { value, format: one, axis, readers: [] };
    known.readers.push(layer);
    found.set(key, known);
  }
  return [...found.values()];
}
