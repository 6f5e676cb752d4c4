import { floatAttribute } from '../../graph/attribute.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { consumers, isOp, layerName } from '../../graph/query.ts';
import type { Shapes } from '../../graph/shapes.ts';
import { tensorNumbers } from '../../graph/tensor.ts';
import { isLinear, linearLayer, type LinearLayer } from '../fold/linear.ts';
import { constantTensors } from '../fold/tensors.ts';
import type { Note } from '../pass.ts';
import { given } from '../../util/must.ts';

/** A Relu6 or other Clip on the way from one layer to the next. */
export interface ClipBetween {
  readonly node: NodeProto;
  readonly max: number;
}

/** A layer and all the layers that read its channels, with only such nodes between that a positive factor a channel passes through. */
export interface LayerPair {
  readonly producer: LinearLayer;
  /** `repeat`: inputs that each channel has become, where a Flatten stands between. */
  readonly consumers: readonly { readonly layer: LinearLayer; readonly repeat: number }[];
  /** The nodes between, in order. */
  readonly between: readonly NodeProto[];
  readonly clip: ClipBetween | undefined;
  /** What the producer gives, and what the consumers read. */
  readonly before: string;
  readonly value: string;
}

/** f(s·x) = s·f(x) for s > 0, each channel by itself. */
const homogeneous = [
  'Relu',
  'LeakyRelu',
  'PRelu',
  'MaxPool',
  'AveragePool',
  'GlobalAveragePool',
  'GlobalMaxPool',
  'Identity',
];

/** The axis of the channels of a value that a layer gives, or that follows it in the same layout. */
export const channelAxis = (node: NodeProto): number => (isOp(node, 'MatMul', 'Gemm') ? -1 : 1);

/** Every pair of a model; layers whose channels go elsewhere too are in `skipped`, with the reason. */
export function layerPairs(
  model: Model,
  shapes: Shapes,
): { readonly pairs: readonly LayerPair[]; readonly skipped: readonly Note[] } {
  const readers = consumers(model.graph);
  const outputs = new Set(model.graph.output.map((o) => o.name));
  const pairs: LayerPair[] = [];
  const skipped: Note[] = [];
  for (const node of model.graph.node) {
    if (!isLinear(node)) continue;
    const found = pairFrom(model, node, readers, outputs, shapes);
    if (typeof found === 'string') skipped.push({ layer: layerName(node), text: found });
    else pairs.push(found);
  }
  return { pairs, skipped };
}

function pairFrom(
  model: Model,
  node: NodeProto,
  readers: ReadonlyMap<string, readonly NodeProto[]>,
  outputs: ReadonlySet<string>,
  shapes: Shapes,
): LayerPair | string {
  const producer = linearLayer(model, node);
  if (typeof producer === 'string') return producer;
  const before = node.output[0] ?? '';
  const between: NodeProto[] = [];
  let value = before;
  let repeat = 1;
  let clip: ClipBetween | undefined;
  for (;;) {
    if (outputs.has(value)) return `"${value}" is an output of the model`;
    const next = readers.get(value) ?? [];
    if (next.length === 0) return `nothing reads "${value}"`;
    if (next.every(isLinear)) break;
    const [step] = next as [NodeProto];
    if (next.length > 1) return `"${value}" is read by ${next.map((n) => n.op_type).join(', ')}`;
    if (step.input[0] !== value) return `"${value}" is not the first input of ${step.op_type} "${layerName(step)}"`;
    if (isOp(step, 'Flatten')) {
      const dims = shapes.get(value)?.dims;
      if (!dims || dims.length < 2 || repeat !== 1 || !isOp(node, 'Conv', 'ConvTranspose'))
        return `the shape before Flatten "${layerName(step)}" is not known`;
      repeat = dims.slice(2).reduce((a, b) => a * b, 1);
    } else if (isOp(step, 'Clip')) {
      const bounds = clipBounds(model, step);
      if (bounds?.min !== 0 || clip) return `Clip "${layerName(step)}" does not start at a constant 0`;
      clip = { node: step, max: bounds.max };
    } else if (!isOp(step, ...homogeneous)) return `${step.op_type} "${layerName(step)}" does not pass factors on`;
    between.push(step);
    value = step.output[0] ?? '';
  }
  const layers: { layer: LinearLayer; repeat: number }[] = [];
  for (const reader of readers.get(value) ?? []) {
    if (reader.input.filter((name) => name === value).length !== 1 || reader.input[0] !== value)
      return `"${layerName(reader)}" reads "${value}" as something else than its input`;
    const layer = linearLayer(model, reader);
    if (typeof layer === 'string') return layer;
    if (layer.inputs !== producer.outputs * repeat)
      return `"${layerName(reader)}" takes ${layer.inputs} channels, not ${producer.outputs * repeat}`;
    layers.push({ layer, repeat });
  }
  return { producer, consumers: layers, between, clip, before, value };
}

function clipBounds(model: Model, node: NodeProto): { min: number; max: number } | undefined {
  const constants = constantTensors(model);
  const bound = (index: number, attribute: string, otherwise: number): number | undefined => {
    const name = node.input[index] ?? '';
    if (name === '') return floatAttribute(node, attribute, otherwise);
    const tensor = constants.get(name);
    return tensor && tensorNumbers(tensor)[0];
  };
  const [min, max] = [bound(1, 'min', -Infinity), bound(2, 'max', Infinity)];
  return min === undefined || max === undefined ? undefined : { min, max };
}

/** The layer as it stands in a later model. */
export function current(model: Model, layer: LinearLayer): LinearLayer {
  const name = layerName(layer.node);
  const node = model.graph.node.find((n) => layerName(n) === name);
  return linearLayer(model, given(node, 'a layer of a pair')) as LinearLayer;
}

/** For each input of a consumer what its channel has. */
export const ofInputs = ({ layer, repeat }: LayerPair['consumers'][number], channels: Float64Array): Float64Array =>
  Float64Array.from({ length: layer.inputs }, (_, k) => channels[Math.floor(k / repeat)]!);
