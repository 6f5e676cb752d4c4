import protobuf from 'protobufjs';
import type { Bytes } from './bytes.ts';

// Unknown fields must survive a round trip; protobufjs 8 drops them unless told.
protobuf.Reader.discardUnknown = false;

/** A protobuf int64 as protobufjs decodes it. Write int64 through `int64()`: encode() turns a raw bigint into 0. */
export interface Long {
  readonly low: number;
  readonly high: number;
  readonly unsigned: boolean;
}

export interface AttributeProto {
  name: string;
  type: number;
  f: number;
  i: Long;
  s: Uint8Array;
  t?: TensorProto | null;
  g?: GraphProto | null;
  sparse_tensor?: SparseTensorProto | null;
  floats: number[];
  ints: Long[];
  strings: Uint8Array[];
  tensors: TensorProto[];
  graphs: GraphProto[];
  sparse_tensors: SparseTensorProto[];
  /** In a local function: the attribute of the calling node that stands here. */
  ref_attr_name: string;
}

export interface NodeProto {
  name: string;
  op_type: string;
  domain: string;
  overload: string;
  doc_string?: string;
  input: string[];
  output: string[];
  attribute: AttributeProto[];
  metadata_props: StringEntry[];
}

export interface StringEntry {
  key: string;
  value: string;
}

export interface TensorProto {
  name: string;
  dims: Long[];
  data_type: number;
  /** In a file for large initializers: `bytesOf` of bytes.ts reads them. */
  raw_data: Bytes;
  float_data: number[];
  int32_data: number[];
  int64_data: Long[];
  double_data: number[];
  uint64_data: Long[];
  string_data: Uint8Array[];
  external_data: StringEntry[];
  data_location: number;
  metadata_props: StringEntry[];
}

export interface SparseTensorProto {
  values?: TensorProto | null;
  indices?: TensorProto | null;
  dims: Long[];
}

export interface Dimension {
  dim_value?: Long;
  dim_param?: string;
}
export interface TensorShape {
  dim: Dimension[];
}
export interface TypeProto {
  tensor_type?: { elem_type: number; shape?: TensorShape | null } | null;
}
export interface ValueInfoProto {
  name: string;
  type?: TypeProto | null;
  metadata_props: StringEntry[];
}

export interface GraphProto {
  name: string;
  node: NodeProto[];
  initializer: TensorProto[];
  sparse_initializer: SparseTensorProto[];
  input: ValueInfoProto[];
  output: ValueInfoProto[];
  value_info: ValueInfoProto[];
  quantization_annotation: { tensor_name: string; quant_parameter_tensor_names: StringEntry[] }[];
  metadata_props: StringEntry[];
}

export interface OperatorSetId {
  domain: string;
  version: Long;
}
export interface FunctionProto {
  name: string;
  domain: string;
  overload: string;
  input: string[];
  output: string[];
  /** Attributes without a default, by name; those of `attribute_proto` have one. */
  attribute: string[];
  attribute_proto: AttributeProto[];
  node: NodeProto[];
  opset_import: OperatorSetId[];
}

export interface ModelProto {
  ir_version: Long;
  opset_import: OperatorSetId[];
  producer_name: string;
  producer_version: string;
  domain: string;
  model_version: Long;
  graph?: GraphProto | null;
  metadata_props: StringEntry[];
  functions: FunctionProto[];
}

/**
 * The project's own schema: field names and numbers are ONNX's wire format (onnx/onnx.proto, IR 14), proto2 so that explicit
 * zeros keep their presence. What it does not name is kept as unknown fields.
 */
const schema = `
syntax = "proto2";
message StringEntry { optional string key = 1; optional string value = 2; }
message Attribute {
  optional string name = 1; optional float f = 2; optional int64 i = 3; optional bytes s = 4; optional Tensor t = 5;
  optional Graph g = 6; repeated float floats = 7; repeated int64 ints = 8; repeated bytes strings = 9;
  repeated Tensor tensors = 10; repeated Graph graphs = 11; optional string doc_string = 13; optional Type tp = 14;
  repeated Type type_protos = 15; optional int32 type = 20; optional string ref_attr_name = 21;
  optional SparseTensor sparse_tensor = 22; repeated SparseTensor sparse_tensors = 23;
}
message ValueInfo { optional string name = 1; optional Type type = 2; optional string doc_string = 3; repeated StringEntry metadata_props = 4; }
message Node {
  repeated string input = 1; repeated string output = 2; optional string name = 3; optional string op_type = 4;
  repeated Attribute attribute = 5; optional string doc_string = 6; optional string domain = 7; optional string overload = 8;
  repeated StringEntry metadata_props = 9;
}
message Tensor {
  repeated int64 dims = 1; optional int32 data_type = 2; optional Segment segment = 3; repeated float float_data = 4 [packed = true];
  repeated int32 int32_data = 5 [packed = true]; repeated bytes string_data = 6; repeated int64 int64_data = 7 [packed = true];
  optional string name = 8; optional bytes raw_data = 9; repeated double double_data = 10 [packed = true];
  repeated uint64 uint64_data = 11 [packed = true]; optional string doc_string = 12; repeated StringEntry external_data = 13;
  optional int32 data_location = 14; repeated StringEntry metadata_props = 16;
}
message Segment { optional int64 begin = 1; optional int64 end = 2; }
message SparseTensor { optional Tensor values = 1; optional Tensor indices = 2; repeated int64 dims = 3; }
message TensorType { optional int32 elem_type = 1; optional Shape shape = 2; }
message SequenceType { optional Type elem_type = 1; }
message MapType { optional int32 key_type = 1; optional Type value_type = 2; }
message OptionalType { optional Type elem_type = 1; }
message Type {
  optional TensorType tensor_type = 1; optional SequenceType sequence_type = 4; optional MapType map_type = 5;
  optional string denotation = 6; optional TensorType sparse_tensor_type = 8; optional OptionalType optional_type = 9;
}
message Dimension { optional int64 dim_value = 1; optional string dim_param = 2; optional string denotation = 3; }
message Shape { repeated Dimension dim = 1; }
message Annotation { optional string tensor_name = 1; repeated StringEntry quant_parameter_tensor_names = 2; }
message Graph {
  repeated Node node = 1; optional string name = 2; repeated Tensor initializer = 5; optional string doc_string = 10;
  repeated ValueInfo input = 11; repeated ValueInfo output = 12; repeated ValueInfo value_info = 13;
  repeated Annotation quantization_annotation = 14; repeated SparseTensor sparse_initializer = 15; repeated StringEntry metadata_props = 16;
}
message OperatorSetId { optional string domain = 1; optional int64 version = 2; }
message Function {
  optional string name = 1; repeated string input = 4; repeated string output = 5; repeated string attribute = 6;
  repeated Node node = 7; optional string doc_string = 8; repeated OperatorSetId opset_import = 9; optional string domain = 10;
  repeated Attribute attribute_proto = 11; repeated ValueInfo value_info = 12; optional string overload = 13;
  repeated StringEntry metadata_props = 14;
}
message Model {
  optional int64 ir_version = 1; optional string producer_name = 2; optional string producer_version = 3; optional string domain = 4;
  optional int64 model_version = 5; optional string doc_string = 6; optional Graph graph = 7; repeated OperatorSetId opset_import = 8;
  repeated StringEntry metadata_props = 14; repeated Function functions = 25;
}`;

const root = protobuf.parse(schema, { keepCase: true }).root;

interface Codec<T> {
  /** @param holes what bytes fields are that are empty in `bytes`, by the place of their length. */
  decode(bytes: Uint8Array, holes?: ReadonlyMap<number, Bytes>): T;
  encode(message: T): Uint8Array;
  create(fields: Partial<T>): T;
  /** A copy with other values in some fields. Unknown fields go along, which a spread would lose. */
  amend(message: Readonly<T>, fields: Partial<T>): T;
  /** What `encode` writes before a field and behind it. */
  around(message: Readonly<T>, field: string & keyof T): { before: Uint8Array; after: Uint8Array };
}

/** A reader that takes the bytes fields which are missing from elsewhere. */
function readerOf(bytes: Uint8Array, holes: ReadonlyMap<number, Bytes>): protobuf.Reader {
  const reader = protobuf.Reader.create(bytes);
  const own = reader.bytes.bind(reader);
  reader.bytes = () => {
    const hole = holes.get(reader.pos);
    const bytes = own();
    return (hole ?? bytes) as Uint8Array;
  };
  return reader;
}

function codec<T>(name: string): Codec<T> {
  const type = root.lookupType(name);
  const encode = (message: T): Uint8Array => type.encode(message as protobuf.Message).finish();
  const amend = (message: Readonly<T>, fields: Partial<T>): T => {
    const copy = type.create({ ...message, ...fields });
    const unknowns = Object.getOwnPropertyDescriptor(message, '$unknowns');
    if (unknowns) Object.defineProperty(copy, '$unknowns', unknowns);
    return copy as unknown as T;
  };
  return {
    decode: (bytes, holes) => type.decode(holes ? readerOf(bytes, holes) : bytes) as unknown as T,
    encode,
    create: (fields) => type.create(fields) as unknown as T,
    amend,
    around(message, field) {
      // protobufjs writes fields in the order of their numbers, and what it does not know last.
      const place = type.fields[field]!.id;
      const first = Object.entries(message).filter(([name]) => (type.fields[name]?.id ?? Infinity) < place);
      const others = [...first.map(([name]) => name), field].map((name) => [name, undefined]);
      return {
        before: encode(type.create(Object.fromEntries(first)) as unknown as T),
        after: encode(amend(message, Object.fromEntries(others) as Partial<T>)),
      };
    },
  };
}

export const ModelCodec = codec<ModelProto>('Model');
export const GraphCodec = codec<GraphProto>('Graph');
export const NodeCodec = codec<NodeProto>('Node');
export const AttributeCodec = codec<AttributeProto>('Attribute');
export const TensorCodec = codec<TensorProto>('Tensor');
export const ValueInfoCodec = codec<ValueInfoProto>('ValueInfo');
export const FunctionCodec = codec<FunctionProto>('Function');
export const OperatorSetCodec = codec<OperatorSetId>('OperatorSetId');

/** An int64 field of a message, from a number (safe integers only) or bigint. */
export function int64(value: number | bigint): Long {
  const wide = BigInt(value);
  return { low: Number(BigInt.asIntN(32, wide)), high: Number(BigInt.asIntN(32, wide >> 32n)), unsigned: false };
}

/** A decoded int64 as a number. Values beyond 2^53 lose their low bits, as INT64_MAX used as "to the end" may. */
export function toNumber(value: Long | number): number {
  return typeof value === 'number' ? value : value.high * 0x1_0000_0000 + (value.low >>> 0);
}

/** A decoded int64 exactly. */
export function toBigInt(value: Long | number): bigint {
  return typeof value === 'number' ? BigInt(value) : (BigInt(value.high) << 32n) | BigInt(value.low >>> 0);
}
