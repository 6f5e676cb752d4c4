import type { AttributeValue } from '../graph/attribute.ts';
import { makeNode } from '../graph/build.ts';
import type { NodeProto, TensorProto } from '../graph/proto.ts';
import { makeTensor } from '../graph/tensor.ts';

/** A float32 value of a graph that is being written (or an integer one, where a rule made it), with its concrete shape. */
export interface Value {
  readonly name: string;
  readonly dims: readonly number[];
}

type Attributes = Readonly<Record<string, AttributeValue>>;

/** Writes nodes whose shapes are known. Names are fresh; equal constants are one. */
export interface GraphWriter {
  readonly nodes: readonly NodeProto[];
  readonly tensors: readonly TensorProto[];
  fresh(hint: string): string;
  /** Adds a node with one output; an operand may be left out. */
  op(type: string, operands: readonly (Value | undefined)[], dims: readonly number[], attributes?: Attributes): Value;
  /** Adds a node with several outputs, of these shapes. */
  ops(
    type: string,
    operands: readonly (Value | undefined)[],
    dims: readonly (readonly number[])[],
    attributes?: Attributes,
  ): Value[];
  /** A float32 constant. */
  floats(data: ArrayLike<number>, dims: readonly number[]): Value;
  scalar(value: number): Value;
  /** An int64 constant of rank 1. */
  ints(list: readonly number[]): Value;
  /** A constant of zeros or of another number, made when the graph runs: it takes no room in the file. */
  filled(dims: readonly number[], value?: number): Value;
}

/** @param taken names that the graph has already; fresh ones avoid them. */
export function graphWriter(taken: ReadonlySet<string> = new Set()): GraphWriter {
  const nodes: NodeProto[] = [];
  const tensors: TensorProto[] = [];
  const constants = new Map<string, Value>();
  let count = 0;
  const fresh = (hint: string): string => {
    for (;;) {
      const name = `${hint}__${count++}`;
      if (!taken.has(name)) return name;
    }
  };
  const once = (key: string, make: () => Value): Value => {
    const found = constants.get(key) ?? make();
    constants.set(key, found);
    return found;
  };
  const constant = (hint: string, tensor: (name: string) => TensorProto, dims: readonly number[]): Value => {
    const name = fresh(hint);
    tensors.push(tensor(name));
    return { name, dims };
  };
  const ops: GraphWriter['ops'] = (type, operands, dims, attributes = {}) => {
    const outputs = dims.map((shape) => ({ name: fresh(type), dims: shape }));
    nodes.push(makeNode(type, operands.map((one) => one?.name ?? ''), outputs.map(({ name }) => name), attributes)); // prettier-ignore
    return outputs;
  };
  const op: GraphWriter['op'] = (type, operands, dims, attributes) => ops(type, operands, [dims], attributes)[0]!;
  const floats: GraphWriter['floats'] = (data, dims) =>
    constant('floats', (name) => makeTensor(name, 'float32', dims, Float32Array.from(data)), dims);
  const ints: GraphWriter['ints'] = (list) =>
    once(`ints ${list.join()}`, () => constant('ints', (name) => makeTensor(name, 'int64', [list.length], BigInt64Array.from(list, BigInt)), [list.length])); // prettier-ignore
  return {
    nodes,
    tensors,
    fresh,
    op,
    ops,
    floats,
    scalar: (value) => once(`scalar ${value}`, () => floats([value], [])),
    ints,
    filled: (dims, value = 0) =>
      op('ConstantOfShape', [ints(dims)], dims, {
        value: { tensor: makeTensor('value', 'float32', [1], Float32Array.of(value)) },
      }),
  };
}

/** The shape that two shapes broadcast to. */
export function broadcast(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const [p, q] = [a[i - rank + a.length] ?? 1, b[i - rank + b.length] ?? 1];
    return p === 1 ? q : p;
  });
}

const binary =
  (type: string) =>
  (w: GraphWriter, a: Value, b: Value): Value =>
    w.op(type, [a, b], broadcast(a.dims, b.dims));

export const add = binary('Add');
export const sub = binary('Sub');
export const mul = binary('Mul');
export const div = binary('Div');

/** An operator of one operand that keeps its shape. */
export const unary = (w: GraphWriter, type: string, x: Value, attributes?: Attributes): Value =>
  w.op(type, [x], x.dims, attributes);

/** x times a number; x itself where that is 1. */
export const scaled = (w: GraphWriter, x: Value, by: number): Value => (by === 1 ? x : mul(w, x, w.scalar(by)));

const same = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((size, i) => size === b[i]);

export const reshape = (w: GraphWriter, x: Value, dims: readonly number[]): Value =>
  same(x.dims, dims) ? x : w.op('Reshape', [x, w.ints(dims)], dims);

export function transpose(w: GraphWriter, x: Value, perm: readonly number[]): Value {
  if (perm.every((axis, i) => axis === i)) return x;
  return w.op('Transpose', [x], perm.map((axis) => x.dims[axis]!), { perm }); // prettier-ignore
}

/** An axis counted from the front. */
export const fromFront = (axis: number, rank: number): number => (axis + rank) % rank;

/** The permutation that takes another one back. */
export const inverse = (perm: readonly number[]): number[] => perm.map((_, i) => perm.indexOf(i));

/** The last two axes changed over. */
export const turned = (w: GraphWriter, x: Value): Value => {
  const rank = x.dims.length;
  return transpose(w, x, [...Array(rank - 2).keys(), rank - 1, rank - 2]);
};

/** Elements start, start + step … (`size` of them) along one axis. */
export function slice(
  w: GraphWriter,
  x: Value,
  cuts: readonly { readonly axis: number; readonly start: number; readonly size: number; readonly step?: number }[],
): Value {
  const real = cuts.filter(({ axis, start, size, step = 1 }) => start !== 0 || step !== 1 || size !== x.dims[axis]);
  if (real.length === 0) return x;
  const dims = x.dims.map((size, axis) => real.find((cut) => cut.axis === axis)?.size ?? size);
  const end = real.map(({ start, size, step = 1 }) => start + (size - 1) * step + 1);
  const lists = [real.map(({ start }) => start), end, real.map(({ axis }) => axis), real.map(({ step = 1 }) => step)];
  return w.op('Slice', [x, ...lists.map((list) => w.ints(list))], dims);
}

/** Zeros, or another number, around: before and after each axis; negative numbers cut off. */
export function pad(w: GraphWriter, x: Value, before: readonly number[], after: readonly number[], value = 0): Value {
  if ([...before, ...after].every((size) => size === 0)) return x;
  const dims = x.dims.map((size, i) => size + before[i]! + after[i]!);
  return w.op('Pad', [x, w.ints([...before, ...after]), w.scalar(value)], dims);
}

const reduced =
  (type: string) =>
  (w: GraphWriter, x: Value, axes: readonly number[], keep = false): Value => {
    if (axes.length === 0) return x;
    const dims = keep ? x.dims.map((size, i) => (axes.includes(i) ? 1 : size)) : x.dims.filter((_, i) => !axes.includes(i)); // prettier-ignore
    return w.op(type, [x, w.ints(axes)], dims, { keepdims: keep ? 1 : 0 });
  };

export const sum = reduced('ReduceSum');
export const mean = reduced('ReduceMean');

export const expand = (w: GraphWriter, x: Value, dims: readonly number[]): Value =>
  same(x.dims, dims) ? x : w.op('Expand', [x, w.ints(dims)], dims);

/** 1 where x > 0, 0 where not: 3e38 x, held between 0 and 1, which is faster than a comparison and a Cast. */
export const positive = (w: GraphWriter, x: Value): Value =>
  unary(w, 'HardSigmoid', x, { alpha: { float: 3e38 }, beta: { float: 0 } });

/** The gradient of what was broadcast: summed over the axes that it was repeated along. */
export function unbroadcast(w: GraphWriter, d: Value, dims: readonly number[]): Value {
  if (same(d.dims, dims)) return d;
  const lead = d.dims.length - dims.length;
  const axes = d.dims.flatMap((size, i) => (i < lead || (dims[i - lead] === 1 && size !== 1) ? [i] : []));
  return reshape(w, sum(w, d, axes, true), dims);
}
