import { QtoolError } from '../util/error.ts';
import { makeAttribute, type AttributeValue } from './attribute.ts';
import type { Model } from './model.ts';
import {
  NodeCodec,
  toNumber,
  type GraphProto,
  type NodeProto,
  type StringEntry,
  type TensorProto,
  type ValueInfoProto,
} from './proto.ts';
import { captured, everyNode, initializers, layerName, subgraphs } from './query.ts';
import { renamed } from './tensor.ts';

/**
 * What an edit may do. Nodes are named by any version of themselves: after `update` the old object still means the node.
 * Nothing is checked until the edit ends, so steps may pass through broken states.
 */
export interface Draft {
  /** The nodes as they stand now, in graph order, added ones last. */
  nodes(): NodeProto[];
  /** The latest version of a node, and its first: as it stood in the model, or as it was added. */
  current(node: NodeProto): NodeProto;
  origin(node: NodeProto): NodeProto;
  addNode(node: NodeProto): void;
  removeNode(node: NodeProto): void;
  /** Replaces fields of a node (inputs, outputs, op_type …); returns its new version. */
  update(node: NodeProto, fields: Partial<NodeProto>): NodeProto;
  /** Sets or (undefined) removes one attribute. */
  setAttribute(node: NodeProto, name: string, value: AttributeValue | undefined): NodeProto;
  /** Makes readers of `from` read `to`: all nodes, or those `only` picks. Refused where a subgraph captures `from`. */
  rewire(from: string, to: string, only?: (node: NodeProto, input: number) => boolean): void;
  /**
   * Adds a constant under a name that nothing has yet: `hint`, with a number behind it where that is taken. Returns the name,
   * which is the only way to know it.
   */
  add(hint: string, tensor: TensorProto): string;
  /**
   * Gives an initializer another value, for all that read it; one that was listed as a graph input becomes a constant. A value
   * whose node was removed in this edit becomes a constant so, which its readers find under the name they know.
   * @throws QtoolError where there is neither of that name.
   */
  replace(name: string, tensor: TensorProto): void;
  removeInitializer(name: string): void;
  /** Initializers that are listed as graph inputs (overridable defaults) become constants. Returns their names. */
  freezeInputs(): string[];
  /** Imports an operator domain at no less than that version. */
  requireOpset(domain: string, version: number): void;
  /** The version of a domain's operator set that the model asks for; 0 where it asks for none. */
  opset(domain: string): number;
  /** A name that no value, node or initializer has yet, beginning with `base`. */
  freshName(base: string): string;
  /** Adds a graph output (an extra one, to look at a value). */
  addOutput(value: ValueInfoProto): void;
  /** Keeps only these graph outputs, in this order. */
  setOutputs(values: readonly ValueInfoProto[]): void;
  /** Gives the graph inputs other types or shapes: for one batch size, say. */
  setInputs(values: readonly ValueInfoProto[]): void;
  /** Adds a graph input. */
  addInput(value: ValueInfoProto): void;
  /** Sets or (undefined) removes an entry of the model's metadata. */
  setMetadata(key: string, value: string | undefined): void;
  /** Drops the shape notes (value_info), all or of the named values: needed when shapes change. */
  forgetShapes(names?: ReadonlySet<string>): void;
}

interface Entry {
  readonly origin: NodeProto;
  node: NodeProto;
  removed: boolean;
}

/** A model in the middle of an edit. */
export interface State {
  readonly entries: Entry[];
  readonly entryOf: Map<NodeProto, Entry>;
  readonly tensors: Map<string, TensorProto>;
  readonly opsets: Map<string, number>;
  inputs: ValueInfoProto[];
  outputs: ValueInfoProto[];
  valueInfo: ValueInfoProto[];
  metadata: readonly StringEntry[];
  names: Set<string> | undefined;
  /** The values of removed nodes. */
  readonly freed: Set<string>;
}

/** The state that an edit of a model begins with. */
export function open(model: Model): State {
  const entries = model.graph.node.map((node) => ({ origin: node, node, removed: false }));
  return {
    entries,
    entryOf: new Map(entries.map((entry) => [entry.node, entry])),
    tensors: initializers(model.graph),
    opsets: new Map(model.proto.opset_import.map((o) => [o.domain, toNumber(o.version)])),
    inputs: [...model.graph.input],
    outputs: [...model.graph.output],
    valueInfo: [...model.graph.value_info],
    metadata: model.proto.metadata_props,
    names: undefined,
    freed: new Set(),
  };
}

/** The draft that writes into a state. */
export function draftOf(model: Model, state: State): Draft {
  /** Names that came with this step, where `freshName` has been asked for some already. */
  const taken = ({ name, output = [] }: { readonly name: string; readonly output?: readonly string[] }): void => {
    for (const one of [name, ...output]) state.names?.add(one);
  };
  const entry = (node: NodeProto): Entry => {
    const found = state.entryOf.get(node);
    if (!found) throw new QtoolError('graph', 'this node is not part of the edited model', { at: layerName(node) });
    return found;
  };
  const update = (node: NodeProto, fields: Partial<NodeProto>): NodeProto => {
    const at = entry(node);
    at.node = NodeCodec.amend(at.node, fields);
    state.entryOf.set(at.node, at);
    taken(at.node);
    return at.node;
  };
  const opsetKey = (domain: string): string => (domain === '' && state.opsets.has('ai.onnx') ? 'ai.onnx' : domain);
  const notAnInput = (name: string): void => {
    state.inputs = state.inputs.filter((input) => input.name !== name);
  };
  const setTensor = (name: string, tensor: TensorProto): void => {
    state.tensors.set(name, tensor.name === name ? tensor : renamed(tensor, name));
  };
  const freshName = (base: string): string => {
    // Names of this edit so far count too: `names` is made when first asked for.
    state.names ??= new Set([
      ...allNames(model.graph),
      ...state.tensors.keys(),
      ...state.entries.flatMap(({ node }) => [node.name, ...node.output]),
      ...[...state.inputs, ...state.outputs].map((v) => v.name),
    ]);
    let name = base;
    for (let i = 1; state.names.has(name); i++) name = `${base}_${i}`;
    state.names.add(name);
    return name;
  };
  return {
    nodes: () => state.entries.filter((e) => !e.removed).map((e) => e.node),
    current: (node) => entry(node).node,
    origin: (node) => entry(node).origin,
    addNode(node) {
      const added = { origin: node, node, removed: false };
      state.entries.push(added);
      state.entryOf.set(node, added);
      taken(node);
    },
    removeNode(node) {
      const at = entry(node);
      at.removed = true;
      at.node.output.forEach((name) => state.freed.add(name));
    },
    update,
    setAttribute(node, name, value) {
      const { attribute } = entry(node).node;
      const others = attribute.filter((a) => a.name !== name);
      return update(node, { attribute: value === undefined ? others : [...others, makeAttribute(name, value)] });
    },
    rewire(from, to, only = () => true) {
      for (const e of state.entries) {
        if (e.removed) continue;
        if (subgraphs(e.node).some((g) => captured(g).has(from)) && only(e.node, -1))
          throw new QtoolError('graph', `cannot rewire "${from}": a subgraph of ${e.node.op_type} captures it`, {
            at: layerName(e.node),
          });
        if (!e.node.input.some((name, i) => name === from && only(e.node, i))) continue;
        const before = e.node;
        update(before, { input: before.input.map((name, i) => (name === from && only(before, i) ? to : name)) });
      }
    },
    add(hint, tensor) {
      const name = freshName(hint);
      setTensor(name, tensor);
      return name;
    },
    replace(name, tensor) {
      if (!state.tensors.has(name) && !state.freed.has(name))
        throw new QtoolError('graph', 'there is no initializer of this name to replace', { at: name });
      notAnInput(name);
      setTensor(name, tensor);
    },
    removeInitializer(name) {
      notAnInput(name);
      state.tensors.delete(name);
    },
    freezeInputs() {
      const frozen = state.inputs.filter((input) => state.tensors.has(input.name)).map((input) => input.name);
      state.inputs = state.inputs.filter((input) => !state.tensors.has(input.name));
      return frozen;
    },
    opset: (domain) => state.opsets.get(opsetKey(domain)) ?? 0,
    requireOpset(domain, version) {
      const key = opsetKey(domain);
      state.opsets.set(key, Math.max(version, state.opsets.get(key) ?? 0));
    },
    freshName,
    addOutput: (value) => void state.outputs.push(value),
    addInput(value) {
      state.inputs.push(value);
      taken(value);
    },
    setOutputs: (values) => void (state.outputs = [...values]),
    setInputs: (values) => void (state.inputs = [...values]),
    setMetadata(key, value) {
      const others = state.metadata.filter((entry) => entry.key !== key);
      state.metadata = value === undefined ? others : [...others, { key, value }];
    },
    forgetShapes(names) {
      state.valueInfo = names ? state.valueInfo.filter((v) => !names.has(v.name)) : [];
    },
  };
}

/** The names of all values and nodes of a graph, those in its bodies too. */
export function allNames(graph: Readonly<GraphProto>): string[] {
  const nodes = [...everyNode(graph)];
  const items = [graph, ...nodes.flatMap(subgraphs)].flatMap((one) => [
    ...[...one.input, ...one.output],
    ...[...one.value_info, ...one.initializer],
  ]);
  return [...items.map(({ name }) => name), ...nodes.flatMap(({ name, output }) => [name, ...output])];
}
