import { createHash } from 'node:crypto';
import { makeAttribute, type AttributeValue } from '../../graph/attribute.ts';
import { dtypes, type DType, type TypedArray } from '../../graph/dtype.ts';
import { NodeCodec, TensorCodec, int64, type NodeProto, type TensorProto } from '../../graph/proto.ts';
import { elementCount, makeTensor, storedBytes } from '../../graph/tensor.ts';

type Attributes = Readonly<Record<string, AttributeValue>>;

/** Where a form writes what decodes a tensor. Every method returns the name of the value it adds. */
export interface Store {
  /** An initializer of this decoder's own. Its data are asked for only when really written. */
  tensor(type: DType, dims: readonly number[], data: () => TypedArray): string;
  /** A small constant; decoders that need the same one share it. */
  shared(type: DType, dims: readonly number[], data: TypedArray): string;
  /** What decoders share, written by the first that needs it. */
  once(key: string, write: (store: Store) => string): string;
  node(op: string, inputs: readonly string[], attributes?: Attributes, output?: string): string;
  /** Cuts a vector into consecutive pieces, one for each size. Returns their names. */
  split(vector: string, sizes: readonly number[]): string[];
}

/** Nodes and tensors, and the bytes they take in the file. */
export interface Part {
  readonly bytes: number;
  readonly nodes: readonly NodeProto[];
  readonly tensors: readonly (() => TensorProto)[];
}

/** What was written for one decoder: its own part, and by key what it shares with others. */
export interface Written {
  readonly own: Part;
  readonly shared: ReadonlyMap<string, Part>;
}

/** Names for what is written: fresh ones, and those that shared parts have already, by key. */
export interface Names {
  fresh(): string;
  readonly known: Map<string, string>;
}

/** Names that only have the length most will have: to see how many bytes a decoder would take. */
export const typicalNames = (): Names => ({ fresh: () => 'q00', known: new Map() });

/** Writes a decoder. What `names` knows already is taken from there and not written again. */
export function record(write: (store: Store) => unknown, names: Names): Written {
  const own = emptyPart();
  const shared = new Map<string, ReturnType<typeof emptyPart>>();
  let into = own;
  const once: Store['once'] = (key, writeOnce) => {
    const known = names.known.get(key);
    if (known !== undefined) return known;
    const outer = into;
    into = emptyPart();
    shared.set(key, into);
    const name = writeOnce(store);
    into = outer;
    names.known.set(key, name);
    return name;
  };
  const store: Store = {
    once,
    tensor(type, dims, data) {
      const name = names.fresh();
      into.bytes += initializerBytes(name, type, dims);
      into.tensors.push(() => makeTensor(name, type, dims, data()));
      return name;
    },
    shared: (type, dims, data) => once(keyOf(type, dims, data), (inner) => inner.tensor(type, dims, () => data)),
    node(op, inputs, attributes = {}, output = names.fresh()) {
      add(into, namelessNode(op, inputs, [output], attributes));
      return output;
    },
    split(vector, sizes) {
      const pieces = sizes.map(() => names.fresh());
      const lengths = store.shared('int64', [sizes.length], BigInt64Array.from(sizes, BigInt));
      add(into, namelessNode('Split', [vector, lengths], pieces));
      return pieces;
    },
  };
  write(store);
  return { own, shared };
}

const emptyPart = () => ({ bytes: 0, nodes: [] as NodeProto[], tensors: [] as (() => TensorProto)[] });

function add(part: ReturnType<typeof emptyPart>, node: NodeProto): void {
  part.nodes.push(node);
  part.bytes += entryBytes(NodeCodec.encode(node).length);
}

/** A node without a name: a decoder is told by what it makes, and a name costs bytes. */
function namelessNode(
  op: string,
  input: readonly string[],
  output: readonly string[],
  attributes: Attributes = {},
): NodeProto {
  const attribute = Object.entries(attributes).map(([name, value]) => makeAttribute(name, value));
  return NodeCodec.create({ op_type: op, input: [...input], output: [...output], attribute });
}

/** Bytes an initializer takes in the file, without its data at hand. */
export function initializerBytes(name: string, type: DType, dims: readonly number[]): number {
  const head = TensorCodec.encode(TensorCodec.create({ name, data_type: dtypes[type].code, dims: dims.map(int64) }));
  return entryBytes(head.length + entryBytes(storedBytes(type, elementCount(dims))));
}

/** Bytes of a message as one entry of a field with a number below 16: tag, length as a varint, content. */
function entryBytes(content: number): number {
  let bytes = 2 + content;
  for (let rest = content; rest >= 128; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}

/** Equal for constants of the same type, shape and elements, bit for bit. */
export function keyOf(type: DType, dims: readonly number[], data: TypedArray): string {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const content = bytes.length > 64 ? createHash('sha256').update(bytes).digest('base64') : bytes.join();
  return `${type} ${dims.join()} ${content}`;
}
