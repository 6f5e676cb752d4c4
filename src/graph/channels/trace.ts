import type { Model } from '../model.ts';
import type { NodeProto } from '../proto.ts';
import { constantTensor, consumers, initializers, isOp, layerName, modelInputs, opset, reads } from '../query.ts';
import type { Shapes } from '../shapes.ts';
import { dimsOf } from '../tensor.ts';
import { makeAtoms, type Atoms } from './atoms.ts';
import { evaluateInts, sizesIn, storedInts, type Ints, type Place } from './ints.ts';
import { pick, type Axis, type Flow, type Role } from './flow.ts';
import { rules } from './rules.ts';

interface State {
  readonly atoms: Atoms;
  readonly dims: Map<string, readonly number[]>;
  /** Atoms of every axis of every value and stored tensor. */
  readonly axes: Map<string, readonly Axis[]>;
  readonly ints: Map<string, Ints>;
  readonly roles: { readonly node: NodeProto; readonly place: Place; readonly role: Role }[];
  readonly sites: { readonly node: NodeProto; readonly operands: readonly Place[] }[];
  /** Nodes that no rule follows. */
  readonly unknown: NodeProto[];
  readonly readers: ReadonlyMap<string, readonly NodeProto[]>;
  readonly opset: number;
}

/** What tracing every node once, in graph order, finds. */
export type Trace = Omit<State, 'readers' | 'opset'>;

/** Labels every axis of every value with atoms, operator by operator. */
export function traceChannels(model: Model, shapes: Shapes): Trace {
  const state: State = {
    atoms: makeAtoms(),
    dims: new Map([...shapes].map(([name, { dims }]) => [name, dims])),
    axes: new Map(),
    ints: new Map(),
    roles: [],
    sites: [],
    unknown: [],
    readers: consumers(model.graph),
    opset: opset(model),
  };
  for (const [name, tensor] of initializers(model.graph)) {
    state.dims.set(name, dimsOf(tensor));
    const known = storedInts(tensor);
    if (known) state.ints.set(name, known);
    label(state, name);
  }
  for (const { name } of modelInputs(model)) {
    label(state, name);
    state.axes.get(name)?.forEach((axis) => freeze(state, axis, `graph input "${name}"`));
  }
  for (const node of model.graph.node) traceNode(state, node);
  for (const { name } of model.graph.output) {
    state.axes.get(name)?.forEach((axis) => freeze(state, axis, `graph output "${name}"`));
    state.ints.get(name)?.items.forEach((item) => freezeSizes(state, sizesIn(item), `graph output "${name}"`));
  }
  return state;
}

/** Gives a source (stored tensor, graph input) atoms of its own. */
function label(state: State, name: string): void {
  const dims = state.dims.get(name);
  if (dims)
    state.axes.set(
      name,
      dims.map((size) => (size > 1 ? state.atoms.fresh(size) : undefined)),
    );
}

function freeze(state: State, axis: Axis, why: string): void {
  axis?.forEach((atom) => state.atoms.freeze(atom, why));
}

function freezeSizes(state: State, places: readonly Place[], why: string): void {
  for (const { value, axis } of places) freeze(state, state.axes.get(value)?.[axis], why);
}

function traceNode(state: State, node: NodeProto): void {
  const constant = constantTensor(node);
  if (constant) {
    const name = node.output[0]!;
    state.dims.set(name, dimsOf(constant));
    label(state, name);
  }
  const known = node.input.map((name) => state.ints.get(name));
  const ints = evaluateInts(node, known, (value) => state.dims.get(value));
  if (ints) {
    state.ints.set(node.output[0]!, ints);
    return;
  }
  if (constant) return;
  const rule = isOp(node, node.op_type) ? rules[node.op_type] : undefined;
  const flow = flowOf(state, node);
  if (!rule) {
    state.unknown.push(node);
    flow.freezeAll(`${node.domain ? `${node.domain}::` : ''}${node.op_type} is not followed`);
    return;
  }
  node.input.forEach((name, i) => {
    if (rule.vectors?.includes(i)) return;
    state.ints.get(name)?.items.forEach((item) => freezeSizes(state, sizesIn(item), 'shape arithmetic depends on it'));
  });
  rule.flow(flow);
}

function flowOf(state: State, node: NodeProto): Flow {
  const { atoms } = state;
  const input = (i: number): string => node.input[i] ?? '';
  const axes = (i: number): readonly Axis[] =>
    state.axes.get(input(i)) ?? (state.dims.get(input(i)) ?? []).map(() => undefined);
  const why = `${node.op_type} "${layerName(node)}" ties it to an axis that must stay`;
  return {
    node,
    opset: state.opset,
    dims: (i) => state.dims.get(input(i)),
    outDims: (i) => state.dims.get(node.output[i] ?? ''),
    axes,
    ints: (i) => state.ints.get(input(i)),
    fresh: (count) => atoms.fresh(count),
    join(a, b) {
      const length = Math.max(a?.length ?? 0, b?.length ?? 0);
      for (let i = 0; i < length; i++) atoms.join(a ? (a[i] ?? -1) : -1, b ? (b[i] ?? -1) : -1, why);
    },
    freeze: (axis, reason) => freeze(state, axis, reason),
    tie(axis, a, b) {
      if (axis) atoms.join(axis[a]!, axis[b]!, why);
    },
    same: (axis, a, b) => {
      const [x, y] = pick(axis, [a, b]) ?? [-1, -1];
      return x === y || (x !== -1 && y !== -1 && atoms.find(x!) === atoms.find(y!));
    },
    readersOf: (value) => state.readers.get(value) ?? [],
    readers: (i) => state.readers.get(node.output[i] ?? '') ?? [],
    member: (i, axis, role) => void state.roles.push({ node, place: { value: input(i), axis }, role }),
    site: (...operands) =>
      void state.sites.push({ node, operands: operands.map((o) => ({ value: input(o.input), axis: o.axis })) }),
    axisOf: ({ value, axis }) => state.axes.get(value)?.[axis],
    set(i, result) {
      const name = node.output[i];
      const dims = state.dims.get(name ?? '');
      if (name) state.axes.set(name, dims ? result.map((axis, d) => (dims[d] === 1 ? undefined : axis)) : result);
    },
    freezeAll(reason) {
      for (const name of reads(node)) {
        state.axes.get(name)?.forEach((axis) => freeze(state, axis, reason));
        state.ints.get(name)?.items.forEach((item) => freezeSizes(state, sizesIn(item), reason));
      }
    },
  };
}
