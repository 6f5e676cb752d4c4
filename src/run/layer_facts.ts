import { constantReader } from '../analyze/constant.ts';
import { constantSources, cost, type LayerCost } from '../analyze/cost.ts';
import { constantValues } from '../analyze/layers.ts';
import type { Batch } from '../data/types.ts';
import { dtypes, type DType } from '../graph/dtype.ts';
import { axesView } from '../graph/layer.ts';
import type { Model } from '../graph/model.ts';
import { productOf } from '../graph/ops.ts';
import type { WeightAxes } from '../graph/product.ts';
import type { NodeProto, TensorProto } from '../graph/proto.ts';
import { initializers, isOp, layerName, producers } from '../graph/query.ts';
import type { Shapes } from '../graph/shapes.ts';
import { dimsOf, elementCount, tensorBytes, tensorNumbers, typeOf } from '../graph/tensor.ts';
import { inferShapes } from '../runtime/shapes.ts';
import { given, must } from '../util/must.ts';
import type { LayerReport } from './report.ts';
import { weightSpread } from './spread.ts';

type Facts = Pick<
  LayerReport,
  'shape' | 'output' | 'parameters' | 'macs' | 'bytes' | 'floatBytes' | 'bits' | 'weightSpread'
>;

/** Weights beyond this are not drawn: reading them twice would take longer than the report is worth. */
const mostDrawn = 2 ** 25;

/**
 * Size, work and weights of every layer of a compressed model, beside the same layer of the float model. Weights are read one
 * layer at a time.
 * @param held the type a layer's weights are held in, as the report says it: `int8, 4 bits`.
 * @returns also the type of what it reads, quantized or not.
 */
export async function layerFacts(
  model: Model,
  float: Model,
  batches: (samples: number) => AsyncIterable<Batch>,
  held: ReadonlyMap<string, string>,
  signal: AbortSignal,
): Promise<Map<string, Facts & { readonly floatType: string | undefined }>> {
  const before = await lookAt(float, batches);
  const after = model === float ? before : await lookAt(model, batches);
  const widths = new Map([...held].map(([layer, type]) => [layer, bitsOf(type) ?? 32]));
  const [bytesBefore, bytesAfter] = [bytesOf(float, before.costs), bytesOf(model, after.costs, widths)];
  const result = new Map<string, Facts & { readonly floatType: string | undefined }>();
  for (const [layer, type] of held) {
    signal.throwIfAborted();
    const [was, is] = [before.costs.get(layer), after.costs.get(layer)];
    const bits = bitsOf(type);
    const weights = was && (await weightsOf(layer, before, after, bits));
    result.set(layer, {
      // Those of a batch are all known.
      output: (is ?? was)?.output?.map(Number),
      parameters: (is ?? was)?.params,
      macs: (is ?? was)?.macs,
      bytes: bytesAfter.get(layer),
      floatBytes: bytesBefore.get(layer),
      bits,
      floatType: after.shapes.get(after.data.get(layer) ?? '')?.type,
      ...weights,
    });
  }
  return result;
}

/**
 * Bytes of the constants that each layer reads. What several read (one blob of packed codes, a shared table) is divided between them by
 * the bits of their weights, so that the layers together are no more than the model.
 */
function bytesOf(
  model: Model,
  costs: ReadonlyMap<string, LayerCost>,
  widths: ReadonlyMap<string, number> = new Map(),
): Map<string, number> {
  const constants = constantValues(model.graph);
  const sources = constantSources(model);
  const read = new Map<TensorProto, string[]>();
  for (const node of model.graph.node) {
    const layer = layerName(node);
    if (!costs.has(layer)) continue;
    for (const tensor of new Set(node.input.filter((name) => constants.has(name)).flatMap(sources)))
      read.set(tensor, [...(read.get(tensor) ?? []), layer]);
  }
  const weight = (layer: string): number =>
    Math.max(1, must(costs, layer, 'the cost of').params) * (widths.get(layer) ?? 32);
  const result = new Map([...costs.keys()].map((layer) => [layer, 0]));
  for (const [tensor, layers] of read) {
    const all = layers.reduce((sum, layer) => sum + weight(layer), 0);
    for (const layer of layers)
      result.set(layer, must(result, layer, 'the bytes of') + (tensorBytes(tensor) * weight(layer)) / all);
  }
  return new Map([...result].map(([layer, bytes]) => [layer, Math.round(bytes)]));
}

interface Look {
  readonly costs: ReadonlyMap<string, LayerCost>;
  readonly shapes: Shapes;
  /** Of each layer the value that it multiplies by, and what the axes of so many are to it. */
  readonly weights: ReadonlyMap<string, { name: string; axes: (rank: number) => WeightAxes | undefined }>;
  /** What it multiplies by them. */
  readonly data: ReadonlyMap<string, string>;
  readonly read: (name: string) => Promise<Float32Array | undefined>;
}

async function lookAt(model: Model, batches: (samples: number) => AsyncIterable<Batch>): Promise<Look> {
  let shapes: Shapes = new Map();
  for await (const batch of batches(1)) {
    shapes = await inferShapes(model, batch);
    break;
  }
  return {
    costs: new Map(cost(model, shapes, false).layers.map((layer) => [layer.layer, layer])),
    shapes,
    weights: new Map(model.graph.node.flatMap(weightOf)),
    data: new Map(model.graph.node.map((node) => [layerName(node), node.input[productOf(node)?.data ?? 0] ?? ''])),
    read: constantReader(model),
  };
}

async function weightsOf(
  layer: string,
  before: Look,
  after: Look,
  bits: number | undefined,
): Promise<Pick<Facts, 'shape' | 'weightSpread'>> {
  const [was, is] = [before.weights.get(layer), after.weights.get(layer)];
  const shape = was && before.shapes.get(was.name)?.dims;
  if (was === undefined || shape === undefined) return {};
  const elements = shape.reduce((product, dim) => product * dim, 1);
  if (elements === 0 || elements > mostDrawn) return { shape };
  const values = await before.read(was.name);
  if (values === undefined) return { shape };
  const stored = is && before !== after ? await after.read(is.name) : undefined;
  const axes = was.axes(shape.length);
  return { shape, weightSpread: weightSpread(values, stored, axes && axesView(shape, axes), bits) };
}

function weightOf(node: NodeProto): [string, { name: string; axes: (rank: number) => WeightAxes | undefined }][] {
  const kind = productOf(node);
  const [input] = kind?.weights ?? [];
  const name = input === undefined ? undefined : node.input[input];
  if (!kind || input === undefined || name === undefined) return [];
  return [[layerName(node), { name, axes: (rank) => kind.axes(node, input, rank) }]];
}

/** `int8, 4 bits` → 4, `int4` → 4, `float32` → 32. */
export function bitsOf(type: string): number | undefined {
  const narrower = /, (\d+) bits$/.exec(type)?.[1];
  if (narrower !== undefined) return Number(narrower);
  return type in dtypes ? dtypes[type as DType].bits : undefined;
}

/** What a quantized value can be: from the zero point and scale behind it. undefined where it is not one scale for all. */
export function heldRange(model: Model): (value: string) => readonly [number, number] | undefined {
  const tensors = initializers(model.graph);
  const made = producers(model.graph);
  return (value) => {
    const node = made.get(value);
    if (node === undefined || !isOp(node, 'DequantizeLinear')) return undefined;
    const [scale, zero] = [tensors.get(node.input[1] ?? ''), tensors.get(node.input[2] ?? '')];
    if (scale === undefined || zero === undefined || typeOf(scale) !== 'float32') return undefined;
    const integer = /^(u?)int(\d+)$/.exec(typeOf(zero));
    if (integer === null || elementCount(dimsOf(scale)) !== 1) return undefined;
    const [step, at] = [scale, zero].map((one) => given(tensorNumbers(one)[0], 'a scale')) as [number, number];
    const bits = Number(integer[2]);
    const low = integer[1] === 'u' ? 0 : -(2 ** (bits - 1));
    return [(low - at) * step, (low + 2 ** bits - 1 - at) * step];
  };
}
