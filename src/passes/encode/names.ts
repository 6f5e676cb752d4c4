import { modelOf, type Model } from '../../graph/model.ts';
import { GraphCodec, ModelCodec, NodeCodec, type GraphProto, type NodeProto } from '../../graph/proto.ts';
import { captured, isOp, subgraphs } from '../../graph/query.ts';
import { renamed } from '../../graph/tensor.ts';

/** Names of values and nodes, those in the bodies of If, Loop and Scan too. */
export function namesIn(graph: Readonly<GraphProto>): Set<string> {
  const names = new Set<string>();
  const walk = (inner: Readonly<GraphProto>): void => {
    for (const { name } of [...inner.input, ...inner.output, ...inner.initializer]) names.add(name);
    for (const node of inner.node) {
      for (const name of [node.name, ...node.input, ...node.output]) names.add(name);
      subgraphs(node).forEach(walk);
    }
  };
  walk(graph);
  return names;
}

/** Names of values that must stay: the model's inputs and outputs, what bodies read, what annotations point to. */
export function fixedNames(graph: Readonly<GraphProto>): Set<string> {
  return new Set([
    ...[...graph.input, ...graph.output].map((value) => value.name),
    ...graph.node.flatMap((node) => subgraphs(node).flatMap((inner) => [...captured(inner)])),
    ...graph.sparse_initializer.map((tensor) => tensor.values?.name ?? ''),
    ...graph.quantization_annotation.flatMap((annotation) => [
      annotation.tensor_name,
      ...annotation.quant_parameter_tensor_names.map((entry) => entry.value),
    ]),
  ]);
}

/** Gives names that are not taken, as short as they can be: a … z, a0, b0 … */
export function shortNames(taken: ReadonlySet<string>): () => string {
  let next = 0;
  return () => {
    for (;;) {
      const index = next++;
      const name = String.fromCharCode(97 + (index % 26)) + (index < 26 ? '' : Math.floor(index / 26 - 1).toString(36));
      if (!taken.has(name)) return name;
    }
  };
}

/**
 * Short names for inner values, the most used the shortest: old name → new one.
 * @param taken names of values elsewhere that none of them may get.
 */
export function shortened({ graph }: Model, taken: ReadonlySet<string>): Map<string, string> {
  const fixed = fixedNames(graph);
  const uses = new Map<string, number>();
  const values = [
    ...graph.initializer.map((tensor) => tensor.name),
    ...graph.node.flatMap((node) => [...node.input, ...node.output]),
  ];
  for (const value of values) if (value !== '' && !fixed.has(value)) uses.set(value, (uses.get(value) ?? 0) + 1);
  const inBodies = graph.node.flatMap((node) => subgraphs(node).flatMap((body) => [...namesIn(body)]));
  const fresh = shortNames(new Set([...fixed, ...inBodies, ...[...taken].filter((name) => !uses.has(name))]));
  const byUses = [...uses].sort(([, a], [, b]) => b - a);
  return new Map(byUses.map(([value]) => [value, fresh()]));
}

/** The model with other names for some values. */
export function withNames(model: Model, names: ReadonlyMap<string, string>): Model {
  const name = (value: string): string => names.get(value) ?? value;
  const { graph } = model;
  // No draft: one's new name may be another's old one, and all change at once.
  const renaming = GraphCodec.amend(graph, {
    node: graph.node.map((n) => NodeCodec.amend(n, { input: n.input.map(name), output: n.output.map(name) })),
    initializer: [
      ...graph.initializer.filter((tensor) => !names.has(tensor.name)),
      ...graph.initializer
        .filter((tensor) => names.has(tensor.name))
        .map((tensor) => renamed(tensor, name(tensor.name))),
    ],
    value_info: [],
  });
  return modelOf(ModelCodec.amend(model.proto, { graph: renaming }), model.path);
}

/** Operators whose nodes no report names. */
const unnamed = [
  'QuantizeLinear',
  'DequantizeLinear',
  'Cast',
  'Reshape',
  'Mul',
  'Sub',
  'Slice',
  'Flatten',
  'Relu',
  'Clip',
];

/**
 * Without what no runtime reads: documentation and exporters' traces (PyTorch writes a stack trace with every node), and the
 * names of nodes that no report speaks of. The model's own metadata stay: applications read class names there.
 */
export function withoutTalk(model: Model): Model {
  const bare = { doc_string: undefined, metadata_props: [] } as object;
  const nameless = { ...bare, name: undefined } as object;
  const quiet = (node: NodeProto): NodeProto => NodeCodec.amend(node, isOp(node, ...unnamed) ? nameless : bare);
  const { proto, graph } = model;
  const slim = GraphCodec.amend(graph, { ...bare, node: graph.node.map(quiet), value_info: [] });
  return modelOf(ModelCodec.amend(proto, { ...({ doc_string: undefined } as object), graph: slim }), model.path);
}
