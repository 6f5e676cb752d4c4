import type { Draft } from '../edit.ts';
import type { NodeProto } from '../proto.ts';
import type { Ints, Item, Place } from './ints.ts';

/** The atom of every index along one axis of a value; -1 for an index that must stay, undefined where all must. */
export type Axis = Int32Array | undefined;

/**
 * What an axis of a weight is to the channels along it. `out`: the layer makes these channels. `in`: it sums over them.
 * `bias`: it adds to each, so that a channel of zeros would no longer be one. `through`: it carries each to itself otherwise
 * (batch norm's scale, depthwise kernel, slope).
 */
export type Role = 'out' | 'in' | 'bias' | 'through';

/** What an operator's rule sees of its node while channels are traced, inputs first, in graph order. */
export interface Flow {
  readonly node: NodeProto;
  readonly opset: number;
  /** Shape of an input; undefined where the optional input is absent. */
  dims(input: number): readonly number[] | undefined;
  outDims(output: number): readonly number[] | undefined;
  /** Atoms of every axis of an input. */
  axes(input: number): readonly Axis[];
  /** Integers of an input, where they are known. */
  ints(input: number): Ints | undefined;
  fresh(count: number): Int32Array;
  /** Equates two axes of the same length, index by index. */
  join(a: Axis, b: Axis): void;
  /** All indices of an axis must stay. */
  freeze(axis: Axis, why: string): void;
  /** Equates atoms of one axis with one another, index `a` with index `b`. */
  tie(axis: Axis, a: number, b: number): void;
  /** Whether two indices of an axis already go together. */
  same(axis: Axis, a: number, b: number): boolean;
  /** The nodes that read a value. */
  readersOf(value: string): readonly NodeProto[];
  /** The nodes that read an output. */
  readers(output: number): readonly NodeProto[];
  /** Says what an axis of an input is to this layer. */
  member(input: number, axis: number, role: Role): void;
  /** Says that the node sums over these axes together: a channel that is zero in one of them adds nothing. */
  site(...operands: readonly { readonly input: number; readonly axis: number }[]): void;
  /** The atoms of the axis that a shape number speaks of. */
  axisOf(place: Place): Axis;
  set(output: number, axes: readonly Axis[]): void;
  /** Every index of every input must stay. */
  freezeAll(why: string): void;
}

/** What a rule sees of its node when channels are cut. */
export interface Cut {
  readonly draft: Draft;
  readonly node: NodeProto;
  readonly opset: number;
  /** Indices kept along an axis, ascending; undefined where all are. */
  kept(value: string, axis: number): Int32Array | undefined;
  oldDims(value: string): readonly number[];
  newDims(value: string): readonly number[];
  ints(value: string): Ints | undefined;
  /** Gives the node another constant vector of int64 for an input. */
  vector(input: number, items: readonly number[], dims?: readonly number[]): void;
  /** As `vector`, where some numbers are computed in the graph and stay so: undefined keeps the old number. */
  patch(input: number, items: readonly (number | undefined)[]): void;
}

/** An operator's part in the channel graph. */
export interface Rule {
  readonly flow: (flow: Flow) => void;
  /** Mends attributes and shape inputs after a cut; tensors are cut without its help. */
  readonly fix?: (cut: Cut) => void;
  /** Inputs that the rule reads as shapes or indices: sizes of cut axes may stand in them. */
  readonly vectors?: readonly number[];
}

/**
 * Binds an axis to the number of a shape that speaks of it: where that is the size of an axis, the two are one; made of sizes in another
 * way, it holds them all.
 */
export function bindSize(flow: Flow, item: Item, axis: Axis): void {
  if ('size' in item) flow.join(flow.axisOf(item.size), axis);
  else if ('from' in item) {
    flow.freeze(axis, 'shape arithmetic depends on it');
    item.from.forEach((place) => flow.freeze(flow.axisOf(place), 'shape arithmetic depends on it'));
  }
}

/** The atom at an index. */
export function atomAt(axis: Axis, index: number): number {
  return axis === undefined ? -1 : axis[index]!;
}

/** An axis made of picked indices of another; undefined where nothing of it can go. */
export function pick(axis: Axis, indices: readonly number[]): Axis {
  return axis === undefined ? undefined : Int32Array.from(indices, (i) => axis[i]!);
}

/** An axis of so many indices, each of which is that one of another. */
export function spread(axis: Axis, count: number, from: (index: number) => number): Axis {
  return axis && Int32Array.from({ length: count }, (_, i) => axis[from(i)]!);
}

/** The integers from `from` up to, not including, `to`. */
export function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);
}

/** The known integers of an input of the node being mended. */
export function intsOf(cut: Cut, input: number): Ints | undefined {
  const name = cut.node.input[input];
  return name ? cut.ints(name) : undefined;
}
