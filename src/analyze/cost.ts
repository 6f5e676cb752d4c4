import { intAttribute } from '../graph/attribute.ts';
import type { Model } from '../graph/model.ts';
import type { Product } from '../graph/product.ts';
import type { NodeProto, TensorProto } from '../graph/proto.ts';
import {
  constantTensor,
  initializers,
  isOp,
  layerName,
  producers,
  reads,
  storedTensors,
  subgraphs,
} from '../graph/query.ts';
import type { OpenShapes } from '../graph/shapes.ts';
import { dimsOf, elementCount, tensorBytes } from '../graph/tensor.ts';
import { macsOf } from '../graph/macs.ts';
import { constantValues, layerOf } from './layers.ts';
import { countCodes, countZeros } from './zeros.ts';

/** What one layer costs. */
export interface LayerCost {
  readonly layer: string;
  readonly op: string;
  /** Shape of its first output; undefined where it was not seen. */
  readonly output: readonly (number | string)[] | undefined;
  /** Weights and biases, as many as the layer computes with, however they are stored. */
  readonly params: number;
  /** Multiply-accumulates of one run at the given shapes; undefined where they are not known, see `note`. */
  readonly macs: number | undefined;
  /** Bytes of all constants it reads: weights, scales, zero points. A tensor that layers share counts for each. */
  readonly bytes: number;
  /** Share of zeros among its weights, 0 to 1; undefined without weights and where they were not counted. */
  readonly zeros: number | undefined;
  readonly note?: string;
}

/** The model as a whole; tensors that layers share count once. */
export interface ModelCost {
  readonly layers: readonly LayerCost[];
  readonly params: number;
  readonly macs: number;
  readonly bytes: number;
  /** Of all weights of rank 2 and more; undefined where they were not counted. */
  readonly zeros: number | undefined;
  /** What the sums leave out. */
  readonly notes: readonly string[];
}

/**
 * Parameters, multiply-accumulates, bytes and zeros of every layer. MACs are those of the shapes given: infer them on one
 * sample to have them per sample. Activations, pooling and additions count no MACs.
 * @param zeros counts the zeros, which reads all weights.
 */
export function cost(model: Model, shapes: OpenShapes, zeros = true): ModelCost {
  const { graph } = model;
  const constants = constantValues(graph);
  const sources = constantSources(model);
  const layers: LayerCost[] = [];
  const counted = new Map<string, WeightFacts>();
  const notes: string[] = [];
  for (const node of graph.node) {
    if (subgraphs(node).length > 0) notes.push(`what runs inside ${node.op_type} "${layerName(node)}" is not counted`);
    const kind = layerOf(node, constants);
    const facts = weightInputs(node, kind, constants, shapes).map(
      (name) => [name, weightFacts(model, shapes, sources(name), name, node, kind, zeros)] as const,
    );
    for (const [name, fact] of facts) counted.set(name, fact);
    if (kind === undefined) continue;
    const [main] = facts;
    const macs = macsOf(node, shapes);
    const layer = {
      layer: layerName(node),
      op: node.op_type,
      output: shapes.get(node.output[0] ?? '')?.dims,
      params: sum(facts.map(([, fact]) => fact.params)),
      bytes: sum([...new Set(node.input.filter((name) => constants.has(name)).flatMap(sources))].map(tensorBytes)),
      zeros: main?.[1].zeros === undefined || main[1].params === 0 ? undefined : main[1].zeros / main[1].params,
    };
    const note = typeof macs === 'string' ? macs : undefined;
    if (note !== undefined) notes.push(`${layer.layer}: ${note}`);
    layers.push({ ...layer, macs: typeof macs === 'number' ? macs : undefined, ...(note !== undefined && { note }) });
  }
  const weights = [...counted.values()].filter((fact) => fact.rank >= 2 && fact.zeros !== undefined);
  return {
    layers,
    params: sum([...counted.values()].map((fact) => fact.params)),
    macs: sum(layers.map((layer) => layer.macs ?? 0)),
    bytes: sum([...graph.initializer, ...graph.node.flatMap((node) => constantTensor(node) ?? [])].map(tensorBytes)),
    zeros: zeros
      ? sum(weights.map((fact) => fact.zeros ?? 0)) / Math.max(1, sum(weights.map((fact) => fact.params)))
      : undefined,
    notes,
  };
}

const isKnown = (dim: number | string): dim is number => typeof dim === 'number';

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

interface WeightFacts {
  readonly params: number;
  readonly rank: number;
  readonly zeros: number | undefined;
}

/** Constant value → the initializers it is computed from. */
export function constantSources(model: Model): (name: string) => TensorProto[] {
  const tensors = storedTensors(model);
  const made = producers(model.graph);
  const known = new Map<string, TensorProto[]>();
  const find = (name: string): TensorProto[] => {
    const own = tensors.get(name);
    if (own !== undefined) return [own];
    const cached = known.get(name);
    if (cached !== undefined) return cached;
    const maker = made.get(name);
    const found = maker === undefined ? [] : [...new Set([...reads(maker)].flatMap(find))];
    known.set(name, found);
    return found;
  };
  return find;
}

/** The constants a node computes with: a layer's weights, or what a normalization, activation or addition carries. */
function weightInputs(
  node: NodeProto,
  kind: Product | undefined,
  constants: ReadonlySet<string>,
  shapes: OpenShapes,
): string[] {
  if (kind !== undefined)
    return [...kind.weights, ...(kind.bias === undefined ? [] : [kind.bias]), ...kind.more]
      .map((i) => node.input[i] ?? '')
      .filter((name) => constants.has(name));
  if (isOp(node, 'QuantizeLinear', 'DequantizeLinear') || node.output.every((name) => constants.has(name))) return [];
  const isWeight = (name: string): boolean => {
    const shape = shapes.get(name);
    // A single number is a setting (an epsilon, a factor), integers are indices.
    return (
      constants.has(name) && shape !== undefined && shape.type.includes('float') && shape.dims.some((dim) => dim !== 1)
    );
  };
  return node.input.filter(isWeight);
}

function weightFacts(
  model: Model,
  shapes: OpenShapes,
  tensors: readonly TensorProto[],
  name: string,
  node: NodeProto,
  kind: Product | undefined,
  counted: boolean,
): WeightFacts {
  // The largest tensor behind a weight is what holds its elements; scales and zero points are smaller.
  const main = tensors.reduce<TensorProto | undefined>(
    (most, tensor) => (most === undefined || elementCount(dimsOf(tensor)) > elementCount(dimsOf(most)) ? tensor : most),
    undefined,
  );
  const seen = shapes.get(name)?.dims;
  const dims = seen?.every(isKnown) === true ? seen : main === undefined ? [] : dimsOf(main);
  const packed = packedParams(node, kind, name, dims);
  if (packed !== undefined) return { params: packed, rank: 2, zeros: undefined };
  const params = elementCount(dims);
  const stored = main === undefined ? 0 : elementCount(dimsOf(main));
  if (main === undefined || stored === 0) return { params, rank: dims.length, zeros: 0 };
  if (!counted) return { params, rank: dims.length, zeros: undefined };
  const own = kind?.zeroPoint !== undefined && node.input[kind.weights[0] ?? -1] === name;
  const zeros = own
    ? countZeros(main, initializers(model.graph).get(node.input[kind.zeroPoint] ?? ''), kind.as === 'Conv' ? 0 : -1)
    : countCodes(model, main);
  // A weight that is repeated (Expand) or cut (Slice) on its way has the share of zeros of what it is made from.
  return { params, rank: dims.length, zeros: zeros * (params / stored) };
}

/** Elements of weights that are packed several to a byte, which their shape does not tell. */
function packedParams(
  node: NodeProto,
  kind: Product | undefined,
  name: string,
  dims: readonly number[],
): number | undefined {
  if (kind === undefined || node.input[kind.weights[0] ?? -1] !== name) return undefined;
  if (node.op_type === 'MatMulNBits') return intAttribute(node, 'K', 0) * intAttribute(node, 'N', 0);
  if (node.op_type === 'GatherBlockQuantized') return elementCount(dims) * (8 / intAttribute(node, 'bits', 4));
  return undefined;
}
