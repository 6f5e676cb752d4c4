import { makeNode } from '../../graph/build.ts';
import { dtypes } from '../../graph/dtype.ts';
import {
  AttributeCodec,
  FunctionCodec,
  GraphCodec,
  NodeCodec,
  ValueInfoCodec,
  int64,
  toNumber,
  type AttributeProto,
  type FunctionProto,
  type GraphProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from '../../graph/proto.ts';
import { constantTensor, layerName, reads } from '../../graph/query.ts';
import { dimsOf, elementCount, renamed } from '../../graph/tensor.ts';
import { halfType, isWideCast, widened } from './half.ts';

/** Value → the name that it has inside the model, where that is another one. */
export type Names = ReadonlyMap<string, string>;

/** Gives a name that nothing has yet. */
export type Fresh = (base: string) => string;

/** Constants of fewer elements become float32 at once: operators read sizes and bounds at load, and a Cast is longer than they are. */
const fewest = 16;

/** Attributes that name the type of what a node makes or computes in, of whatever operator. */
const typed: ReadonlySet<string> = new Set(
  'to dtype output_dtype output_datatype stash_type softmax_precision'.split(' '),
);

/** Whether a constant of 16 bits stays stored so, behind a Cast. */
export const isLarge = (tensor: TensorProto): boolean => elementCount(dimsOf(tensor)) >= fewest;

/** The Cast that makes the float32 value of what is stored in 16 bits. */
export const wideCast = (from: string, to: string): NodeProto =>
  makeNode('Cast', [from], [to], { to: dtypes.float32.code });

/** A value of 16-bit floats declared as float32; any other as it is. */
export function valueWith(value: ValueInfoProto): ValueInfoProto {
  const tensor_type = value.type?.tensor_type;
  if (halfType(tensor_type?.elem_type) === undefined) return value;
  return ValueInfoCodec.amend(value, {
    type: { ...value.type, tensor_type: { ...tensor_type, elem_type: dtypes.float32.code } },
  });
}

/** Of the constants that nodes read, those that are cast to float32 wherever that is. */
function castAlready(nodes: readonly NodeProto[], outputs: readonly string[]): (name: string) => boolean {
  const others = new Set([
    ...outputs,
    ...nodes.filter((node) => !isWideCast(node)).flatMap((node) => [...reads(node)]),
  ]);
  return (name) => !others.has(name);
}

/**
 * A node that computes in float32: values by their inner names, types and small constants of 16 bits as float32, bodies likewise.
 * The node itself where nothing of it changes.
 * @param keepsType only names change: for the Cast that makes an output of the model.
 */
export function nodeWith(node: NodeProto, names: Names, fresh: Fresh, keepsType = false): NodeProto {
  const named = (list: readonly string[]): string[] => list.map((name) => names.get(name) ?? name);
  const attribute = node.attribute.map((a) => attributeWith(a, names, fresh, keepsType));
  const [input, output] = [named(node.input), named(node.output)];
  const renames = !alike(output, node.output);
  if (!renames && alike(attribute, node.attribute) && alike(input, node.input)) return node;
  // A layer without a name is known by its first output.
  return NodeCodec.amend(node, { input, output, attribute, ...(renames ? { name: layerName(node) } : {}) });
}

const alike = (a: readonly unknown[], b: readonly unknown[]): boolean =>
  a.length === b.length && a.every((one, i) => one === b[i]);

function attributeWith(a: AttributeProto, names: Names, fresh: Fresh, keepsType: boolean): AttributeProto {
  if (!keepsType && typed.has(a.name) && halfType(toNumber(a.i)) !== undefined)
    return AttributeCodec.amend(a, { i: int64(dtypes.float32.code) });
  if (!keepsType && a.t && halfType(a.t.data_type) !== undefined) return AttributeCodec.amend(a, { t: widened(a.t) });
  if (a.g) {
    const g = bodyWith(a.g, names, fresh);
    return g === a.g ? a : AttributeCodec.amend(a, { g });
  }
  const graphs = a.graphs.map((graph) => bodyWith(graph, names, fresh));
  return alike(graphs, a.graphs) ? a : AttributeCodec.amend(a, { graphs });
}

/** A body of If, Loop or Scan that computes in float32, and takes and gives float32. */
function bodyWith(graph: GraphProto, outer: Names, fresh: Fresh): GraphProto {
  const defined = new Set([
    ...[...graph.input, ...graph.initializer].map(({ name }) => name),
    ...graph.node.flatMap((node) => node.output),
  ]);
  // What a body calls by the name of an outer value is its own.
  const names = new Map([...outer].filter(([name]) => !defined.has(name)));
  const outputs = graph.output.map(({ name }) => name);
  const casts: NodeProto[] = [];
  const isCast = castAlready(graph.node, outputs);
  const initializer = graph.initializer.map((tensor) => {
    if (halfType(tensor.data_type) === undefined || isCast(tensor.name)) return tensor;
    if (!isLarge(tensor)) return widened(tensor);
    const stored = fresh(`${tensor.name}_half`);
    casts.push(wideCast(stored, tensor.name));
    return renamed(tensor, stored);
  });
  const node = [...casts, ...nodesWith(graph.node, outputs, names, fresh)];
  const input = graph.input.map(valueWith);
  const output = graph.output.map((value) => renamedValue(valueWith(value), names));
  const value_info = graph.value_info.map(valueWith);
  const same = alike(node, graph.node) && alike(initializer, graph.initializer) && alike(input, graph.input);
  if (same && alike(output, graph.output) && alike(value_info, graph.value_info)) return graph;
  return GraphCodec.amend(graph, { node, initializer, input, output, value_info });
}

const renamedValue = (value: ValueInfoProto, names: Names): ValueInfoProto => {
  const name = names.get(value.name);
  return name === undefined ? value : ValueInfoCodec.amend(value, { name });
};

/** The nodes of a body or a local function; large constants stay stored in 16 bits, behind a Cast of their own. */
function nodesWith(nodes: readonly NodeProto[], outputs: readonly string[], names: Names, fresh: Fresh): NodeProto[] {
  const isCast = castAlready(nodes, outputs);
  return nodes.flatMap((node) => {
    const tensor = constantTensor(node);
    if (!tensor || halfType(tensor.data_type) === undefined) return [nodeWith(node, names, fresh)];
    const [value = ''] = node.output;
    if (isCast(value)) return [node];
    if (!isLarge(tensor)) return [nodeWith(node, names, fresh)];
    const stored = fresh(`${value}_half`);
    return [NodeCodec.amend(node, { output: [stored] }), wideCast(stored, value)];
  });
}

/** A local function that computes in float32: itself where it holds nothing of 16 bits. */
export function functionWith(f: FunctionProto): FunctionProto {
  const known = new Set([...f.input, ...f.node.flatMap((node) => node.output)]);
  const fresh: Fresh = (base) => {
    let name = base;
    for (let i = 1; known.has(name); i++) name = `${base}_${i}`;
    known.add(name);
    return name;
  };
  const node = nodesWith(f.node, f.output, new Map(), fresh);
  return alike(node, f.node) ? f : FunctionCodec.amend(f, { node });
}
