import { attribute, intAttribute, intsAttribute, tensorAttribute } from '../attribute.ts';
import { toNumber, type NodeProto, type TensorProto } from '../proto.ts';
import { isOp } from '../query.ts';
import { dimsOf, elementCount, tensorNumbers, typeOf } from '../tensor.ts';

/** An axis of a value. */
export interface Place {
  readonly value: string;
  readonly axis: number;
}

/** Axis number counted from 0. */
export function positive(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}

/** One number of a shape computation: a constant, the size of an axis, or made of sizes in a way not followed. */
export type Item = { readonly number: number } | { readonly size: Place } | { readonly from: readonly Place[] };

/** A small integer tensor whose numbers are known, row-major. */
export interface Ints {
  readonly dims: readonly number[];
  readonly items: readonly Item[];
}

/** Longer integer tensors are data, not shapes. */
const longest = 256;

/** The axes whose sizes a number is made of. */
export function sizesIn(item: Item): readonly Place[] {
  return 'number' in item ? [] : 'size' in item ? [item.size] : item.from;
}

/** The numbers of a vector that is constant throughout. */
export function constants(ints: Ints | undefined): number[] | undefined {
  const numbers = ints?.items.flatMap((item) => ('number' in item ? [item.number] : []));
  return numbers?.length === ints?.items.length ? numbers : undefined;
}

/** A stored integer tensor, if it is small. */
export function storedInts(tensor: TensorProto): Ints | undefined {
  const dims = dimsOf(tensor);
  if (!['int64', 'int32'].includes(typeOf(tensor)) || elementCount(dims) > longest) return undefined;
  return { dims, items: tensorNumbers(tensor).map((number) => ({ number })) };
}

const arithmetic: Readonly<Record<string, (a: number, b: number) => number>> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Div: (a, b) => Math.trunc(a / b),
  Max: Math.max,
  Min: Math.min,
};

/**
 * The integers that a shape computation's node gives, from those it is given; undefined where it is none. Numbers that no rule
 * follows exactly still name the sizes they are made of.
 */
export function evaluateInts(
  node: NodeProto,
  inputs: readonly (Ints | undefined)[],
  shapeOf: (value: string) => readonly number[] | undefined,
): Ints | undefined {
  if (isOp(node, 'Constant')) return constantInts(node);
  if (isOp(node, 'Shape')) return shapeInts(node, shapeOf);
  const x = inputs[0];
  const out = shapeOf(node.output[0] ?? '');
  if (!x || !out || elementCount(out) > longest || inputs.some((ints, i) => node.input[i] && !ints)) return undefined;
  if (isOp(node, 'Cast', 'Identity', 'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten'))
    return { dims: out, items: x.items };
  if (isOp(node, 'Concat') && out.length === 1)
    return { dims: out, items: inputs.flatMap((ints) => (ints ? [...ints.items] : [])) };
  const followed = viewed(node, inputs, out) ?? computed(node, inputs, out);
  if (followed) return { dims: out, items: followed };
  const from = inputs.flatMap((ints) => ints?.items.flatMap(sizesIn) ?? []);
  if (from.length === 0) return undefined;
  return { dims: out, items: Array.from({ length: elementCount(out) }, () => ({ from })) };
}

function constantInts(node: NodeProto): Ints | undefined {
  const tensor = tensorAttribute(node, 'value');
  if (tensor) return storedInts(tensor);
  const list = intsAttribute(node, 'value_ints');
  if (list) return { dims: [list.length], items: list.map((number) => ({ number })) };
  const one = attribute(node, 'value_int');
  return one && { dims: [], items: [{ number: toNumber(one.i) }] };
}

function shapeInts(node: NodeProto, shapeOf: (value: string) => readonly number[] | undefined): Ints | undefined {
  const value = node.input[0]!;
  const rank = shapeOf(value)?.length;
  if (rank === undefined) return undefined;
  const bound = (name: string, otherwise: number): number =>
    Math.min(rank, Math.max(0, positive(intAttribute(node, name, otherwise), rank)));
  const [start, end] = [bound('start', 0), bound('end', rank)];
  const items = Array.from({ length: Math.max(0, end - start) }, (_, i) => ({ size: { value, axis: start + i } }));
  return { dims: [items.length], items };
}

/** Operators that only move numbers about. */
function viewed(node: NodeProto, inputs: readonly (Ints | undefined)[], out: readonly number[]): Item[] | undefined {
  const x = inputs[0]!;
  if (isOp(node, 'Gather')) {
    const index = constants(inputs[1]);
    const size = x.dims[0] ?? 1;
    return x.dims.length === 1 && index ? index.map((i) => x.items[positive(i, size)]!) : undefined;
  }
  if (isOp(node, 'Transpose')) {
    const perm = intsAttribute(node, 'perm') ?? x.dims.map((_, i) => x.dims.length - 1 - i);
    const strides = stridesOf(x.dims);
    return indices(out).map((at) => x.items[at.reduce((sum, i, d) => sum + i * strides[perm[d]!]!, 0)]!);
  }
  if (isOp(node, 'Slice') && inputs.length > 1) return sliced(inputs, out);
  if (isOp(node, 'ConstantOfShape')) {
    const fill = tensorAttribute(node, 'value');
    const number = fill ? tensorNumbers(fill)[0]! : 0;
    return indices(out).map(() => ({ number }));
  }
  return undefined;
}

function sliced(inputs: readonly (Ints | undefined)[], out: readonly number[]): Item[] | undefined {
  const x = inputs[0]!;
  const [starts, ends] = [constants(inputs[1]), constants(inputs[2])];
  const axes = inputs[3] ? constants(inputs[3]) : starts?.map((_, i) => i);
  const steps = inputs[4] ? constants(inputs[4]) : starts?.map(() => 1);
  if (!starts || !ends || !axes || !steps) return undefined;
  const ranges = x.dims.map((size, d) => {
    const at = axes.findIndex((a) => positive(a, x.dims.length) === d);
    return at < 0 ? Array.from({ length: size }, (_, i) => i) : sliceIndices(starts[at]!, ends[at]!, steps[at]!, size);
  });
  const strides = stridesOf(x.dims);
  return indices(out).map((at) => {
    const flat = at.reduce((sum, i, d) => sum + (ranges[d]?.[i] ?? 0) * strides[d]!, 0);
    return x.items[flat]!;
  });
}

/** The indices that ONNX Slice takes along an axis (https://onnx.ai/onnx/operators/onnx__Slice.html). */
export function sliceIndices(start: number, end: number, step: number, size: number): number[] {
  const clamp = (v: number, low: number, high: number): number => Math.min(high, Math.max(low, v < 0 ? v + size : v));
  const result: number[] = [];
  if (step > 0) for (let i = clamp(start, 0, size); i < clamp(end, 0, size); i += step) result.push(i);
  else for (let i = clamp(start, 0, size - 1); i > clamp(end, -1, size - 1); i += step) result.push(i);
  return result;
}

/** Arithmetic on constants; on sizes only a multiplication by one and an addition of zero are followed. */
function computed(node: NodeProto, inputs: readonly (Ints | undefined)[], out: readonly number[]): Item[] | undefined {
  const operator = node.input.length === 2 ? arithmetic[node.op_type] : undefined;
  const [a, b] = inputs;
  if (!operator || !a || !b) return undefined;
  const at = (ints: Ints, i: number): Item | undefined => ints.items[ints.items.length === 1 ? 0 : i];
  const items: Item[] = [];
  for (let i = 0; i < elementCount(out); i++) {
    const [x, y] = [at(a, i), at(b, i)];
    if (!x || !y) return undefined;
    if ('number' in x && 'number' in y) items.push({ number: operator(x.number, y.number) });
    else items.push({ from: [...sizesIn(x), ...sizesIn(y)] });
  }
  return items;
}

/** Row-major strides of a shape, in elements. */
export function stridesOf(dims: readonly number[]): number[] {
  const strides = dims.map(() => 1);
  for (let d = dims.length - 2; d >= 0; d--) strides[d] = strides[d + 1]! * dims[d + 1]!;
  return strides;
}

function indices(dims: readonly number[]): number[][] {
  const strides = stridesOf(dims);
  return Array.from({ length: elementCount(dims) }, (_, flat) =>
    dims.map((size, d) => Math.floor(flat / strides[d]!) % size),
  );
}
