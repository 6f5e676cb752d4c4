import {
  AttributeCodec,
  GraphCodec,
  NodeCodec,
  ValueInfoCodec,
  type GraphProto,
  type NodeProto,
  type ValueInfoProto,
} from './proto.ts';
import { everyNode, subgraphs } from './query.ts';
import { renamed } from './tensor.ts';

/** Gives a value its new name. The empty name, an input or output that is left out, is never asked for. */
export type NewName = (value: string) => string;

/** A node whose values have other names, in its bodies too: those that these define and those that they read from outside. */
export function nodeWithNames(node: NodeProto, name: NewName): NodeProto {
  const of = (value: string): string => (value === '' ? '' : name(value));
  const fields = { input: node.input.map(of), output: node.output.map(of) };
  return NodeCodec.amend(
    withBodies(node, (body) => graphWithNames(body, name)),
    fields,
  );
}

/** A body whose values have other names. Its notes on shapes go: they are by name, and nothing needs them. */
export function graphWithNames(graph: Readonly<GraphProto>, name: NewName): GraphProto {
  const value = (one: ValueInfoProto): ValueInfoProto => ValueInfoCodec.amend(one, { name: name(one.name) });
  return GraphCodec.amend(graph, {
    input: graph.input.map(value),
    output: graph.output.map(value),
    initializer: graph.initializer.map((tensor) => renamed(tensor, name(tensor.name))),
    node: graph.node.map((node) => nodeWithNames(node, name)),
    value_info: [],
    quantization_annotation: [],
  });
}

/** A node with other bodies; the node itself where it has none. */
export function withBodies(node: NodeProto, change: (body: GraphProto) => GraphProto): NodeProto {
  if (subgraphs(node).length === 0) return node;
  const attribute = node.attribute.map((one) =>
    one.g || one.graphs.length > 0
      ? AttributeCodec.amend(one, { ...(one.g ? { g: change(one.g) } : {}), graphs: one.graphs.map(change) })
      : one,
  );
  return NodeCodec.amend(node, { attribute });
}

/** The values that a list of nodes defines, those inside of their bodies too. */
export function definedIn(nodes: readonly NodeProto[]): Set<string> {
  const all = [...everyNode({ node: [...nodes] })];
  const bodies = all.flatMap(subgraphs);
  const values = bodies.flatMap(({ input, initializer }) => [...input, ...initializer].map(({ name }) => name));
  return new Set([...values, ...all.flatMap(({ output }) => output)].filter((value) => value !== ''));
}

/** Makes names that are not among those taken, and takes them. */
export function freshNames(taken: Set<string>): NewName {
  return (base) => {
    let name = base;
    for (let i = 1; taken.has(name); i++) name = `${base}_${i}`;
    taken.add(name);
    return name;
  };
}
