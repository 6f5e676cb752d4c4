import { QtoolError } from '../util/error.ts';
import { draftOf, open, type Draft, type State } from './draft.ts';
import { modelOf, type Model } from './model.ts';
import { GraphCodec, ModelCodec, OperatorSetCodec, ValueInfoCodec, int64, toNumber, type NodeProto } from './proto.ts';
import { consumers, isOp, layerName, opset, reads } from './query.ts';

export type { Draft };

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

function close(model: Model, state: State): Model {
  const before = model.graph;
  const nodes = sorted(state);
  const read = new Set([...nodes.flatMap((node) => [...reads(node)]), ...state.outputs.map((o) => o.name)]);
  const wasRead = new Set([...consumers(before).keys(), ...before.output.map((o) => o.name)]);
  const stored = new Set(before.initializer.map((t) => t.name));
  // An initializer that nothing read before the edit either is none of the edit's business.
  const kept = [...state.tensors.values()].filter(
    ({ name }) => read.has(name) || (stored.has(name) && !wasRead.has(name)),
  );
  const alive = new Set(kept.map((t) => t.name));
  const produced = new Set(nodes.flatMap((node) => node.output));
  const graph = GraphCodec.amend(before, {
    node: nodes,
    initializer: kept,
    input: state.inputs.filter(({ name }) => alive.has(name) || !stored.has(name)),
    output: state.outputs,
    value_info: state.valueInfo.filter((v) => produced.has(v.name)),
    quantization_annotation: before.quantization_annotation.filter(
      (a) => produced.has(a.tensor_name) || alive.has(a.tensor_name),
    ),
  });
  const opset_import = [...state.opsets].map(([domain, version]) =>
    OperatorSetCodec.create({ domain, version: int64(version) }),
  );
  const metadata_props = [...state.metadata];
  return modelOf(ModelCodec.amend(model.proto, { ir_version: irFor(model, state), graph, opset_import, metadata_props }), model.path); // prettier-ignore
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
  const waitsFor = (node: NodeProto): NodeProto[] =>
    [...reads(node)].flatMap((name) => {
      const from = producer.get(name);
      if (from) return mark.get(from) === 'done' ? [] : [from];
      if (known.has(name)) return [];
      throw new QtoolError('graph', `${node.op_type} reads "${name}", which nothing would produce any more`, {
        at: layerName(node),
        hint: 'rewire or remove the reader first',
      });
    });
  // An explicit stack: a chain of thousands of nodes would overflow a recursive walk.
  for (const start of nodes) {
    const stack = [start];
    for (let node = stack.at(-1); node !== undefined; node = stack.at(-1)) {
      const waiting = waitsFor(node);
      if (waiting.length > 0) {
        if (mark.get(node) === 'open')
          throw new QtoolError('graph', 'the edit would make a cycle', { at: layerName(node) });
        mark.set(node, 'open');
        stack.push(...waiting.reverse());
        continue;
      }
      if (mark.get(node) !== 'done') order.push(node);
      mark.set(node, 'done');
      stack.pop();
    }
  }
  return order;
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

/** The model with inner values among its outputs, behind its own. */
export function withOutputs(model: Model, values: readonly string[]): Model {
  const known = new Set(model.graph.output.map(({ name }) => name));
  const more = values.filter((name) => !known.has(name)).map((name) => ValueInfoCodec.create({ name }));
  return edit(model, (draft) => draft.setOutputs([...model.graph.output, ...more]));
}
