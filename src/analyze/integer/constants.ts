import { intAttribute } from '../../graph/attribute.ts';
import { makeModel } from '../../graph/build.ts';
import type { DType } from '../../graph/dtype.ts';
import type { Model } from '../../graph/model.ts';
import { ValueInfoCodec, toNumber, type NodeProto } from '../../graph/proto.ts';
import { initializers, isOp, producers, reads, storedTensors } from '../../graph/query.ts';
import { dimsOf, tensorData, typeOf } from '../../graph/tensor.ts';
import type { Computer } from '../../runtime/compute.ts';
import { given } from '../../util/must.ts';
import { constantValues } from '../layers.ts';

/** A constant of the model, its elements as numbers. */
export interface Constant {
  readonly type: DType;
  readonly dims: readonly number[];
  readonly data: ArrayLike<number>;
}

/** Integers that stand for reals behind DequantizeLinear: one scale and zero point, or one for each place along `axis`. */
export interface StoredCodes extends Constant {
  readonly scale: readonly number[];
  readonly zeroPoint: readonly number[];
  readonly axis: number;
  /** Of scales for groups along the axis; 0: there are none. */
  readonly block: number;
}

/** What a model computes from constants alone. */
export interface Constants {
  has(name: string): boolean;
  get(name: string): Promise<Constant>;
  /** What a constant is dequantized from; undefined where it is no DequantizeLinear's. */
  codes(name: string): Promise<StoredCodes | undefined>;
  /** Nodes that make a constant, in graph order, and those that they need. */
  makers(names: Iterable<string>): Set<NodeProto>;
}

/** Opens a model's constants; what is packed is unpacked by onnxruntime. */
export function constantsOf(model: Model, computer: Pick<Computer, 'compute'>): Constants {
  const known = constantValues(model.graph);
  const stored = storedTensors(model);
  const made = producers(model.graph);
  const makers = (names: Iterable<string>): Set<NodeProto> => {
    const found = new Set<NodeProto>();
    const visit = (name: string): void => {
      const maker = known.has(name) ? made.get(name) : undefined;
      if (maker === undefined || found.has(maker)) return;
      found.add(maker);
      for (const input of reads(maker)) visit(input);
    };
    for (const name of names) visit(name);
    return found;
  };
  const get = async (name: string): Promise<Constant> => {
    const tensor = stored.get(name);
    if (tensor !== undefined) return { type: typeOf(tensor), dims: dimsOf(tensor), data: plain(tensorData(tensor)) };
    const graph = partOf(model, makers([name]), [], [name]);
    const result = given((await computer.compute(graph, {}))[name], name);
    return { type: result.type, dims: result.dims, data: plain(result.data as ArrayLike<number>) };
  };
  return {
    has: (name) => known.has(name),
    get,
    makers,
    async codes(name) {
      const maker = made.get(name);
      if (maker === undefined || !known.has(name) || !isOp(maker, 'DequantizeLinear')) return undefined;
      const [codes = '', scale = '', zero = ''] = maker.input;
      const [own, scales] = [await get(codes), await get(scale)];
      const zeros = zero === '' ? new Array<number>(scales.data.length).fill(0) : Array.from((await get(zero)).data);
      const axis = intAttribute(maker, 'axis', 1);
      return {
        ...own,
        ...{ scale: Array.from(scales.data), zeroPoint: zeros, block: intAttribute(maker, 'block_size', 0) },
        axis: axis < 0 ? own.dims.length + axis : axis,
      };
    },
  };
}

const plain = (data: ArrayLike<number | bigint>): ArrayLike<number> =>
  typeof data[0] === 'bigint' ? Array.from(data, Number) : (data as ArrayLike<number>);

/** A part of a model as a model of its own; the inputs are declared by who calls. */
export function partOf(
  model: Model,
  nodes: ReadonlySet<NodeProto>,
  inputs: Parameters<typeof makeModel>[0]['inputs'],
  outputs: readonly string[],
): Model {
  const needed = new Set([...nodes].flatMap((node) => [...reads(node)]));
  const given = new Set(inputs.map(({ name }) => name));
  const tensors = [...initializers(model.graph).values()].filter(({ name }) => needed.has(name) && !given.has(name));
  const domains = model.proto.opset_import.filter(({ domain }) => domain !== '' && domain !== 'ai.onnx');
  const standard = model.proto.opset_import.find(({ domain }) => domain === '' || domain === 'ai.onnx');
  return makeModel({
    inputs,
    outputs: outputs.map((name) => ValueInfoCodec.create({ name })),
    nodes: model.graph.node.filter((node) => nodes.has(node)),
    initializers: tensors,
    domains: Object.fromEntries(domains.map(({ domain, version }) => [domain, toNumber(version)])),
    opset: standard === undefined ? 21 : toNumber(standard.version),
    ir: toNumber(model.proto.ir_version),
  });
}
