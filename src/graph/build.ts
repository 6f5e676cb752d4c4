import { makeAttribute, type AttributeValue } from './attribute.ts';
import { dtypes, type DType } from './dtype.ts';
import { modelOf, type Model } from './model.ts';
import {
  GraphCodec,
  ModelCodec,
  NodeCodec,
  OperatorSetCodec,
  ValueInfoCodec,
  int64,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from './proto.ts';

/** A node; attributes as `makeAttribute` takes them. The name defaults to the first output's. */
export function makeNode(
  op: string,
  input: readonly string[],
  output: readonly string[],
  attributes: Readonly<Record<string, AttributeValue>> = {},
  more: { readonly name?: string; readonly domain?: string } = {},
): NodeProto {
  const attribute = Object.entries(attributes).map(([name, value]) => makeAttribute(name, value));
  const name = more.name ?? `${output[0]}_${op}`;
  return NodeCodec.create({
    op_type: op,
    input: [...input],
    output: [...output],
    attribute,
    name,
    ...(more.domain ? { domain: more.domain } : {}),
  });
}

/** A graph input, output or value_info entry; a string dim is symbolic. */
export function makeValue(name: string, type: DType, dims?: readonly (number | string)[]): ValueInfoProto {
  const dim = dims?.map((d) => (typeof d === 'number' ? { dim_value: int64(d) } : { dim_param: d }));
  return ValueInfoCodec.create({
    name,
    type: { tensor_type: { elem_type: dtypes[type].code, ...(dim ? { shape: { dim } } : {}) } },
  });
}

/** What `makeModel` needs; opset 21 and IR 10 unless said. */
export interface ModelParts {
  readonly inputs: readonly ValueInfoProto[];
  readonly outputs: readonly ValueInfoProto[];
  readonly nodes: readonly NodeProto[];
  readonly initializers?: readonly TensorProto[];
  readonly opset?: number;
  readonly ir?: number;
  /** Further operator domains, each at version 1 unless a number is given. */
  readonly domains?: Readonly<Record<string, number>>;
}

/** A model in memory, for a pass's arithmetic and for tests. */
export function makeModel(parts: ModelParts): Model {
  const graph = GraphCodec.create({
    name: 'graph',
    node: [...parts.nodes],
    initializer: [...(parts.initializers ?? [])],
    input: [...parts.inputs],
    output: [...parts.outputs],
  });
  const domains = Object.entries({ '': parts.opset ?? 21, ...parts.domains });
  const opset_import = domains.map(([domain, version]) => OperatorSetCodec.create({ domain, version: int64(version) }));
  return modelOf(ModelCodec.create({ ir_version: int64(parts.ir ?? 10), opset_import, producer_name: 'qtool', graph }));
}
