import type { Feeds, Tensor } from '../../data/types.ts';
import { makeModel, makeNode, makeValue } from '../../graph/build.ts';
import type { Model } from '../../graph/model.ts';
import { NodeCodec, toNumber, type NodeProto, type TensorProto } from '../../graph/proto.ts';
import { initializers, isOp, layerName, opset } from '../../graph/query.ts';
import { channelAxis } from '../../graph/ops.ts';
import type { Shapes } from '../../graph/shapes.ts';
import { dimsOf, elementCount, floatData, makeTensor } from '../../graph/tensor.ts';
import { minMaxParams, quantize } from '../../numerics/quantize.ts';
import type { PassContext } from '../pass.ts';
import { weightFormat } from '../quantize/formats.ts';
import type { PlannedLayer } from './layers.ts';
import { must } from '../../util/must.ts';

/** Median milliseconds of a layer on one sample. */
export interface LayerTimes {
  /** As an integer kernel between integer neighbours. Widths of 2 to 8 bits all run so. */
  readonly integer: number;
  /** In float between integer neighbours: with both conversions. */
  readonly float: number;
  /** In float between float neighbours: what it takes now. */
  readonly alone: number;
}

type Kind = keyof LayerTimes;

/**
 * Times each layer by itself in onnxruntime in three forms, in turns, on the shapes of one sample: reading and writing uint8 or
 * float as it would in the net. Layers of equal operator, shapes and attributes are timed once.
 */
export async function layerTimes(
  ctx: PassContext,
  float: Model,
  layers: readonly PlannedLayer[],
  seconds: number,
): Promise<LayerTimes[]> {
  const shapes = await ctx.shapes(float);
  const nodes = new Map(float.graph.node.map((node) => [layerName(node), node]));
  const known = new Map<string, LayerTimes>();
  const keyOf = (node: NodeProto): string => {
    const dims = [...node.input.slice(0, 2), node.output[0] ?? ''].map((name) => shapes.get(name)?.dims.join('×'));
    const attributes = node.attribute.map((a) => `${a.name}=${toNumber(a.i)},${a.ints.map(toNumber).join()}`);
    return [node.op_type, ...dims, ...attributes].join(' ');
  };
  const distinct = new Set(layers.flatMap((layer) => layer.nodes.map((name) => keyOf(must(nodes, name, 'the node')))));
  const times: LayerTimes[] = [];
  for (const [i, layer] of layers.entries()) {
    let sum: LayerTimes = { integer: 0, float: 0, alone: 0 };
    for (const name of layer.nodes) {
      ctx.progress(i / layers.length, `timing ${name}`);
      const node = must(nodes, name, 'the node');
      const key = keyOf(node);
      const time = known.get(key) ?? (await timed(ctx, float, node, shapes, (1000 * seconds) / distinct.size));
      known.set(key, time);
      sum = { integer: sum.integer + time.integer, float: sum.float + time.float, alone: sum.alone + time.alone };
    }
    times.push(sum);
  }
  return times;
}

/** Readings of each form at most: enough for a median; fewer where the time is up. */
const mostRounds = 60;

async function timed(ctx: PassContext, float: Model, node: NodeProto, shapes: Shapes, ms: number): Promise<LayerTimes> {
  const kinds: readonly Kind[] = ['integer', 'float', 'alone'];
  const dims = shapes.get(node.input[0] ?? '')?.dims ?? [];
  const feeds: Record<Kind, Feeds> = {
    integer: { x: bytesLike(dims) },
    float: { x: bytesLike(dims) },
    alone: { x: { type: 'float32', dims, data: Float32Array.from(bytesLike(dims).data as Uint8Array, (v) => v / 64) } },
  };
  const graphs = new Map(kinds.map((kind) => [kind, layerGraph(float, node, kind, dims)]));
  const run = async (kind: Kind): Promise<number> => {
    const began = performance.now();
    await ctx.compute(must(graphs, kind, 'the graph of'), feeds[kind]);
    return performance.now() - began;
  };
  for (const kind of kinds) await run(kind);
  const readings: Record<Kind, number[]> = { integer: [], float: [], alone: [] };
  const end = performance.now() + ms;
  for (let round = 0; round < mostRounds && (round < 3 || performance.now() < end); round++) {
    ctx.signal.throwIfAborted();
    // Turned round each time, so that none always follows the same other.
    for (const kind of round % 2 === 0 ? kinds : [...kinds].reverse()) readings[kind].push(await run(kind));
  }
  const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[list.length >> 1] as number;
  return { integer: median(readings.integer), float: median(readings.float), alone: median(readings.alone) };
}

const bytesLike = (dims: readonly number[]): Tensor => ({
  type: 'uint8',
  dims,
  data: Uint8Array.from({ length: elementCount(dims) }, (_, i) => (i * 37) % 256),
});

/** A graph of the one layer, input `x`, output `y`. */
function layerGraph(float: Model, node: NodeProto, kind: Kind, dims: readonly number[]): Model {
  const tensors = initializers(float.graph);
  const constants: TensorProto[] = [];
  const nodes: NodeProto[] = [];
  const scalar = (name: string, value: number): string => {
    constants.push(makeTensor(name, 'float32', [], Float32Array.of(value)));
    return name;
  };
  const zero = (name: string): string => {
    constants.push(makeTensor(name, 'uint8', [], Uint8Array.of(0)));
    return name;
  };
  const inputs = node.input.slice(1).map((name) => {
    const tensor = tensors.get(name);
    if (tensor) constants.push(tensor);
    return name;
  });
  let input = 'x';
  if (kind !== 'alone') {
    nodes.push(makeNode('DequantizeLinear', ['x', scalar('x_scale', 1 / 64), zero('x_zero')], ['x_float']));
    input = 'x_float';
  }
  const weight = tensors.get(node.input[1] ?? '');
  if (kind === 'integer' && weight) {
    const [own, axis] = [dimsOf(weight), channelAxis(node, 1, weight.dims.length) ?? 0];
    const format = weightFormat(8, true) as never;
    const params = minMaxParams(floatData(weight), own, format, { per: 'channel', axis }, weight.name);
    constants.push(
      makeTensor('w_codes', 'int8', own, quantize(floatData(weight), own, params)),
      makeTensor('w_scale', 'float32', [params.scale.length], params.scale),
      makeTensor('w_zero', 'int8', [params.scale.length], new Int8Array(params.scale.length)),
    );
    nodes.push(makeNode('DequantizeLinear', ['w_codes', 'w_scale', 'w_zero'], ['w_float'], { axis }));
    inputs[0] = 'w_float';
    const bias = tensors.get(node.input[2] ?? '');
    if (bias) {
      const count = params.scale.length;
      constants.push(
        makeTensor('b_codes', 'int32', [count], new Int32Array(count).fill(1000)),
        makeTensor(
          'b_scale',
          'float32',
          [count],
          params.scale.map((s) => s / 64),
        ),
        makeTensor('b_zero', 'int32', [count], new Int32Array(count)),
      );
      nodes.push(makeNode('DequantizeLinear', ['b_codes', 'b_scale', 'b_zero'], ['b_float'], { axis: 0 }));
      inputs[1] = 'b_float';
    }
  }
  const result = kind === 'alone' ? 'y' : 'y_float';
  nodes.push(NodeCodec.amend(node, { name: 'layer', input: [input, ...inputs], output: [result] }));
  if (kind !== 'alone') {
    // As the quantizer does, so that onnxruntime's WeightBiasQuantization does not make an integer kernel of the float layer.
    const guarded = kind === 'float' && !isOp(node, 'MatMul');
    if (guarded) nodes.push(makeNode('Max', ['y_float'], ['y_kept']));
    const from = guarded ? 'y_kept' : 'y_float';
    nodes.push(makeNode('QuantizeLinear', [from, scalar('y_scale', 1 / 16), zero('y_zero')], ['y']));
  }
  const type = kind === 'alone' ? 'float32' : 'uint8';
  const used = new Set(nodes.flatMap((n) => n.input));
  return makeModel({
    opset: opset(float),
    ir: 8,
    inputs: [makeValue('x', type, dims)],
    outputs: [makeValue('y', type)],
    nodes,
    initializers: [...new Map(constants.filter((t) => used.has(t.name)).map((t) => [t.name, t])).values()],
  });
}
