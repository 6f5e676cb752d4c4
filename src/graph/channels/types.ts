import type { NodeProto } from '../proto.ts';
import type { Shapes } from '../shapes.ts';
import type { Axis, Role } from './flow.ts';
import type { Ints, Place } from './ints.ts';

/** One axis of a stored tensor that a layer uses, with the atom of every index (-1: must stay). */
export interface Member {
  readonly node: NodeProto;
  readonly layer: string;
  readonly tensor: string;
  readonly axis: number;
  readonly role: Role;
  readonly atoms: Int32Array;
}

/** Channels made by the same layers. Each atom of the group can be cut by itself; two groups share no layer's output axis. */
export interface ChannelGroup {
  readonly id: number;
  readonly atoms: readonly number[];
  /** Names of the layers that make these channels, in graph order. */
  readonly layers: readonly string[];
}

/**
 * The channels of a model. An atom is the smallest thing that can be cut: one channel together with everything, along residual
 * additions, depthwise and grouped convolutions, norms and reshapes, that has to go with it. Atoms are numbered from 0.
 */
export interface Channels {
  readonly groups: readonly ChannelGroup[];
  /** Layers none or only some of whose channels can be cut, each with the reason. */
  readonly frozen: readonly { readonly layer: string; readonly text: string }[];
  /** Value or stored tensor → the atom of every index of every axis; undefined for an axis that stays as it is. */
  readonly axes: ReadonlyMap<string, readonly Axis[]>;
  readonly members: readonly Member[];
  /** Nodes that sum over channels, with the axes of the operands they sum along. */
  readonly sites: readonly { readonly node: NodeProto; readonly operands: readonly Place[] }[];
  readonly dims: ReadonlyMap<string, readonly number[]>;
  /** Numbers of shape computations. */
  readonly ints: ReadonlyMap<string, Ints>;
  readonly shapes: Shapes;
}
