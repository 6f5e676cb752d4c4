import { words } from '../../util/words.ts';
import { intAttribute, intsAttribute } from '../attribute.ts';
import { dtypeOf, type DType, type TypedArray } from '../dtype.ts';
import type { GraphProto, NodeProto, TensorProto, ValueInfoProto } from '../proto.ts';
import { describeValue, isOp, producers, storedTensors, subgraphs } from '../query.ts';
import { dimsOf } from '../tensor.ts';

/** What an adapter may know of and add around the node it rewrites. */
export interface Site {
  /** Adds a constant (one of equal content is shared); returns its name. */
  constant(base: string, type: DType, dims: readonly number[], data: TypedArray): string;
  /** A value name nobody has yet. */
  fresh(base: string): string;
  /** The tensor behind a name if it is a constant. */
  tensor(name: string): TensorProto | undefined;
  /** Declared dims of a value; a string is symbolic. */
  dims(name: string): readonly (number | string)[] | undefined;
  rank(name: string): number | undefined;
  /** The element type of a value that must be floating point, if it can be told. */
  floatType(name: string): DType | undefined;
  /** Whether any node, subgraph or graph output reads the value. */
  isRead(name: string): boolean;
  /** One sentence for the report. */
  note(text: string): void;
  /** Ends the conversion: the operator cannot be said in the newer operator set. */
  refuse(why: string, hint?: string): never;
}

/** The changed fields of the node, and nodes to stand before and after it. */
export interface Rewrite {
  readonly fields: Partial<NodeProto>;
  readonly before?: readonly NodeProto[];
  readonly after?: readonly NodeProto[];
}

/** Carries a node over one change of its operator. Undefined: nothing to change in this node. */
export type Adapter = (node: NodeProto, site: Site) => Rewrite | undefined;

/** What is known of the values of one graph; a body sees its surroundings through `outer`. */
export interface Scope {
  readonly graph: Readonly<GraphProto>;
  readonly outer: Scope | undefined;
  readonly tensors: ReadonlyMap<string, TensorProto>;
  readonly declared: ReadonlyMap<string, ValueInfoProto>;
  readonly made: ReadonlyMap<string, NodeProto>;
}

/** `overridable`: initializers listed as inputs may be given other values by the caller, so they are no constants. */
export function scopeOf(graph: Readonly<GraphProto>, outer: Scope | undefined, overridable: boolean): Scope {
  const tensors = storedTensors({ graph });
  if (overridable) for (const input of graph.input) tensors.delete(input.name);
  const values = [...graph.value_info, ...graph.output, ...graph.input];
  const declared = new Map(values.filter((v) => v.type?.tensor_type).map((v) => [v.name, v]));
  return { graph, outer, tensors, declared, made: producers(graph) };
}

export function tensorIn(scope: Scope | undefined, name: string): TensorProto | undefined {
  return scope && (scope.tensors.get(name) ?? tensorIn(scope.outer, name));
}

export function dimsIn(scope: Scope | undefined, name: string): readonly (number | string)[] | undefined {
  if (!scope) return undefined;
  const value = scope.declared.get(name);
  if (value?.type?.tensor_type?.shape) return describeValue(value).dims;
  const tensor = scope.tensors.get(name);
  return tensor ? dimsOf(tensor) : dimsIn(scope.outer, name);
}

const sameRank = new Set(
  words(
    'Relu LeakyRelu PRelu Sigmoid Tanh Clip Elu Selu Exp Log Sqrt Abs Neg Identity Dropout Cast BatchNormalization Concat Pad Slice AveragePool MaxPool LpPool GlobalAveragePool GlobalMaxPool InstanceNormalization LRN Softmax LogSoftmax Softplus HardSigmoid Upsample Resize',
  ),
);
const broadcasting = new Set(words('Add Sub Mul Div Pow Max Min Sum Mean Where MatMul'));

/** The rank of a value: declared, or followed back through its producers; `depth` bounds the walk. */
export function rankIn(scope: Scope | undefined, name: string, depth = 64): number | undefined {
  const dims = dimsIn(scope, name);
  if (dims || !scope || depth === 0) return dims?.length;
  const node = scope.made.get(name);
  if (!node) return rankIn(scope.outer, name, depth);
  const of = (i: number): number | undefined => rankIn(scope, node.input[i] ?? '', depth - 1);
  if (isOp(node, 'Gemm', 'Flatten')) return 2;
  if (isOp(node, 'Conv', 'ConvTranspose')) return of(1) ?? of(0);
  if (isOp(node, 'Transpose')) return intsAttribute(node, 'perm')?.length ?? of(0);
  if (isOp(node, 'Reshape')) return elementsOf(scope, node.input[1]);
  if (isOp(node, 'Squeeze', 'Unsqueeze')) {
    const count = intsAttribute(node, 'axes')?.length ?? elementsOf(scope, node.input[1]);
    const rank = of(0);
    if (count === undefined || rank === undefined) return undefined;
    return isOp(node, 'Squeeze') ? rank - count : rank + count;
  }
  if (isOp(node, ...sameRank)) return of(0);
  if (isOp(node, ...broadcasting)) {
    const ranks = node.input.map((_, i) => of(i));
    return ranks.every((r) => r !== undefined) ? Math.max(...ranks) : undefined;
  }
  return undefined;
}

function elementsOf(scope: Scope, name: string | undefined): number | undefined {
  const tensor = tensorIn(scope, name ?? '');
  return tensor?.dims.length === 1 ? dimsOf(tensor)[0] : undefined;
}

/** Whether floating point in this model is float32 and nothing else, told from everything that brings a type in. */
export function onlyFloat32(graph: Readonly<GraphProto>): boolean {
  const other = (code: number | undefined): boolean =>
    ['float16', 'float64', 'bfloat16'].includes(dtypeOf(code ?? 0) ?? '');
  return (
    !graph.initializer.some((t) => other(t.data_type)) &&
    !graph.input.some((v) => other(v.type?.tensor_type?.elem_type)) &&
    graph.node.every(
      (node) =>
        !node.attribute.some((a) => other(a.t?.data_type)) &&
        !other(intAttribute(node, 'to', 0)) &&
        !other(intAttribute(node, 'dtype', 0)) &&
        subgraphs(node).every(onlyFloat32),
    )
  );
}

export function floatTypeIn(scope: Scope | undefined, name: string): DType | undefined {
  if (!scope) return undefined;
  const code = scope.declared.get(name)?.type?.tensor_type?.elem_type ?? scope.tensors.get(name)?.data_type;
  return code === undefined ? floatTypeIn(scope.outer, name) : dtypeOf(code);
}
