import { QtoolError } from '../util/error.ts';
import { makeAttribute, type AttributeValue } from './attribute.ts';
import { modelOf, type Model } from './model.ts';
import {
  GraphCodec,
  ModelCodec,
  NodeCodec,
  OperatorSetCodec,
  int64,
  toNumber,
  type GraphProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from './proto.ts';
import { renamed } from './tensor.ts';
import { captured, consumers, initializers, isOp, layerName, opset, reads, subgraphs } from './query.ts';

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
  /** A name that no value, node or initializer has yet, beginning with `base`. */
  freshName(base: string): string;
  /** Adds a graph output (an extra one, to look at a value). */
  addOutput(value: ValueInfoProto): void;
  /** Keeps only these graph outputs, in this order. */
  setOutputs(values: readonly ValueInfoProto[]): void;
  /** Adds a graph input. */
  addInput(value: ValueInfoProto): void;
  /** Drops the shape notes (value_info), all or of the named values: needed when shapes change. */
  forgetShapes(names?: ReadonlySet<string>): void;
}

/**
 * The only writer of models: returns a changed model and leaves the given one as it was; tensors are shared. Initializers
 * and shape notes that nothing reads any more go; nodes are put in topological order, keeping their order where it is one.
 * @throws QtoolError('graph') naming the value and its reader where the result would be broken: a value nobody produces, one
 * produced twice, a cycle, a graph output gone.
 */
export function edit(model: Model, change: (draft: Draft) => void): Model {
  const state = open(model);
  change(draftOf(model, state));
  return close(model, state);
}

interface Entry {
  readonly origin: NodeProto;
  node: NodeProto;
  removed: boolean;
}

interface State {
  readonly entries: Entry[];
  readonly entryOf: Map<NodeProto, Entry>;
  readonly tensors: Map<string, TensorProto>;
  readonly opsets: Map<string, number>;
  inputs: ValueInfoProto[];
  outputs: ValueInfoProto[];
  valueInfo: ValueInfoProto[];
  names: Set<string> | undefined;
  /** The values of removed nodes. */
  readonly freed: Set<string>;
}

function open(model: Model): State {
  const entries = model.graph.node.map((node) => ({ origin: node, node, removed: false }));
  return {
    entries,
    entryOf: new Map(entries.map((entry) => [entry.node, entry])),
    tensors: initializers(model.graph),
    opsets: new Map(model.proto.opset_import.map((o) => [o.domain, toNumber(o.version)])),
    inputs: [...model.graph.input],
    outputs: [...model.graph.output],
    valueInfo: [...model.graph.value_info],
    names: undefined,
    freed: new Set(),
  };
}

function draftOf(model: Model, state: State): Draft {
  const entry = (node: NodeProto): Entry => {
    const found = state.entryOf.get(node);
    if (!found) throw new QtoolError('graph', 'this node is not part of the edited model', { at: layerName(node) });
    return found;
  };
  const update = (node: NodeProto, fields: Partial<NodeProto>): NodeProto => {
    const at = entry(node);
    at.node = NodeCodec.amend(at.node, fields);
    state.entryOf.set(at.node, at);
    for (const name of fields.output ?? []) state.names?.add(name);
    return at.node;
  };
  const notAnInput = (name: string): void => {
    state.inputs = state.inputs.filter((input) => input.name !== name);
  };
  const freshName = (base: string): string => {
    // Names of this edit so far count too: `names` is made when first asked for.
    state.names ??= new Set([
      ...allNames(model),
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
      for (const name of [node.name, ...node.output]) state.names?.add(name);
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
      state.tensors.set(name, tensor.name === name ? tensor : renamed(tensor, name));
      return name;
    },
    replace(name, tensor) {
      if (!state.tensors.has(name) && !state.freed.has(name))
        throw new QtoolError('graph', 'there is no initializer of this name to replace', { at: name });
      notAnInput(name);
      state.tensors.set(name, tensor.name === name ? tensor : renamed(tensor, name));
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
    requireOpset(domain, version) {
      const key = domain === '' && state.opsets.has('ai.onnx') ? 'ai.onnx' : domain;
      state.opsets.set(key, Math.max(version, state.opsets.get(key) ?? 0));
    },
    freshName,
    addOutput: (value) => void state.outputs.push(value),
    addInput: (value) => void state.inputs.push(value),
    setOutputs: (values) => void (state.outputs = [...values]),
    forgetShapes(names) {
      state.valueInfo = names ? state.valueInfo.filter((v) => !names.has(v.name)) : [];
    },
  };
}

function close(model: Model, state: State): Model {
  const nodes = sorted(state);
  const read = new Set([...nodes.flatMap((node) => [...reads(node)]), ...state.outputs.map((o) => o.name)]);
  const wasRead = consumers(model.graph);
  const kept = [...state.tensors.values()].filter((t) => read.has(t.name) || isIdle(t.name, model, wasRead));
  const gone = new Set(
    model.graph.initializer.filter((t) => !state.tensors.has(t.name) || !kept.includes(t)).map((t) => t.name),
  );
  const alive = new Set(kept.map((t) => t.name));
  const produced = new Set(nodes.flatMap((node) => node.output));
  const graph = GraphCodec.amend(model.graph, {
    node: nodes,
    initializer: kept,
    input: state.inputs.filter((input) => alive.has(input.name) || !gone.has(input.name)),
    output: state.outputs,
    value_info: state.valueInfo.filter((v) => produced.has(v.name)),
    quantization_annotation: model.graph.quantization_annotation.filter(
      (a) => produced.has(a.tensor_name) || alive.has(a.tensor_name),
    ),
  });
  const opset_import = [...state.opsets].map(([domain, version]) =>
    OperatorSetCodec.create({ domain, version: int64(version) }),
  );
  return modelOf(ModelCodec.amend(model.proto, { ir_version: irFor(model, state), graph, opset_import }), model.path);
}

/** An initializer that nothing read before the edit either is none of the edit's business. */
function isIdle(name: string, model: Model, wasRead: ReadonlyMap<string, NodeProto[]>): boolean {
  return (
    model.graph.initializer.some((t) => t.name === name) &&
    !wasRead.has(name) &&
    !model.graph.output.some((o) => o.name === name)
  );
}

/**
 * IR 3 wants every initializer listed as an input, so constants of an edited model need IR 4 at least; newer operator sets
 * and types need newer ones (onnx/onnx Versioning.md).
 */
function irFor(model: Model, state: State): ReturnType<typeof int64> {
  const version = state.opsets.get('') ?? state.opsets.get('ai.onnx') ?? 0;
  const ofOpset =
    version >= 25 ? 12 : version >= 23 ? 11 : version >= 21 ? 10 : version >= 19 ? 9 : version >= 15 ? 8 : 7;
  const inputs = new Set(state.inputs.map((input) => input.name));
  const constants = [...state.tensors.keys()].some((name) => !inputs.has(name));
  return int64(Math.max(toNumber(model.proto.ir_version), constants ? 4 : 0, version > opset(model) ? ofOpset : 0));
}

/** Topological order that keeps the given order wherever it can (an added node lands right before its first reader's turn). */
function sorted(state: State): NodeProto[] {
  const nodes = state.entries.filter((e) => !e.removed).map((e) => e.node);
  const known = new Set([...state.tensors.keys(), ...state.inputs.map((input) => input.name)]);
  const producer = new Map<string, NodeProto>();
  for (const node of nodes)
    for (const name of node.output) {
      if (name === '') continue;
      if (producer.has(name) || known.has(name))
        throw new QtoolError('graph', `value "${name}" would be produced twice`, { at: layerName(node) });
      producer.set(name, node);
    }
  for (const output of state.outputs)
    if (!producer.has(output.name) && !known.has(output.name))
      throw new QtoolError('graph', `graph output "${output.name}" would no longer be produced`, { at: output.name });
  const order: NodeProto[] = [];
  const mark = new Map<NodeProto, 'open' | 'done'>();
  // An explicit stack: a chain of thousands of nodes would overflow a recursive walk.
  for (const start of nodes) {
    const stack = [start];
    while (stack.length > 0) {
      const node = stack[stack.length - 1]!;
      if (mark.get(node) === 'done') {
        stack.pop();
        continue;
      }
      const waiting = missingProducers(node, producer, known, state).filter((p) => mark.get(p) !== 'done');
      if (waiting.length === 0) {
        mark.set(node, 'done');
        order.push(node);
        stack.pop();
      } else if (mark.get(node) === 'open') {
        throw new QtoolError('graph', 'the edit would make a cycle', { at: layerName(node) });
      } else {
        mark.set(node, 'open');
        stack.push(...waiting.reverse());
      }
    }
  }
  return order;
}

function missingProducers(
  node: NodeProto,
  producer: ReadonlyMap<string, NodeProto>,
  known: ReadonlySet<string>,
  state: State,
): NodeProto[] {
  return [...reads(node)].flatMap((name) => {
    const from = producer.get(name);
    if (from) return [from];
    if (known.has(name) || state.tensors.has(name)) return [];
    throw new QtoolError('graph', `${node.op_type} reads "${name}", which nothing would produce any more`, {
      at: layerName(node),
      hint: 'rewire or remove the reader first',
    });
  });
}

function allNames(model: Model): Set<string> {
  const names = new Set<string>();
  const walk = (graph: Readonly<GraphProto>): void => {
    for (const item of [...graph.input, ...graph.output, ...graph.value_info, ...graph.initializer])
      names.add(item.name);
    for (const node of graph.node) {
      names.add(node.name);
      node.output.forEach((name) => names.add(name));
      subgraphs(node).forEach(walk);
    }
  };
  walk(model.graph);
  return names;
}

/** Removes nodes whose outputs nothing reads any more, in the draft: use after rewiring around them. Constants go too. */
export function removeUnread(draft: Draft, outputs: ReadonlySet<string>): void {
  for (;;) {
    const nodes = draft.nodes();
    const read = new Set([...outputs, ...nodes.flatMap((node) => [...reads(node)])]);
    const unread = nodes.filter(
      (node) => node.output.every((name) => !read.has(name)) && !isOp(node, 'RandomNormal', 'RandomUniform'),
    );
    if (unread.length === 0) return;
    unread.forEach((node) => draft.removeNode(node));
  }
}
