import { toNumber, type GraphProto, type NodeProto, type TensorProto, type ValueInfoProto } from './proto.ts';
import { dtypeOf, type DType } from './dtype.ts';
import type { Model } from './model.ts';

/** Every index here is computed when asked and never stored with the model. */

/** Initializers by name. */
export function initializers(graph: Readonly<GraphProto>): Map<string, TensorProto> {
  return new Map(graph.initializer.map((tensor) => [tensor.name, tensor]));
}

/** Value name → the node that produces it. */
export function producers(graph: Readonly<GraphProto>): Map<string, NodeProto> {
  return new Map(
    graph.node.flatMap((node) => node.output.filter((name) => name !== '').map((name) => [name, node] as const)),
  );
}

/** Value name → the nodes that read it, once each, in graph order; a node whose subgraph captures the value reads it too. */
export function consumers(graph: Readonly<GraphProto>): Map<string, NodeProto[]> {
  const readers = new Map<string, NodeProto[]>();
  for (const node of graph.node)
    for (const name of reads(node)) {
      const list = readers.get(name);
      if (list) list.push(node);
      else readers.set(name, [node]);
    }
  return readers;
}

/** The tensor of a Constant node; undefined for other nodes and other forms of constants. */
export function constantTensor(node: NodeProto): TensorProto | undefined {
  return (isOp(node, 'Constant') && node.attribute.find((a) => a.name === 'value')?.t) || undefined;
}

/** Initializers and the tensors of Constant nodes, by the name they are read under. */
export function storedTensors({ graph }: Pick<Model, 'graph'>): Map<string, TensorProto> {
  const stored = initializers(graph);
  for (const node of graph.node) {
    const tensor = constantTensor(node);
    if (tensor && node.output[0]) stored.set(node.output[0], tensor);
  }
  return stored;
}

/** All values a node needs: its inputs and what its subgraphs (If, Loop, Scan) capture from outside. */
export function reads(node: NodeProto): Set<string> {
  const names = new Set(node.input.filter((name) => name !== ''));
  for (const graph of subgraphs(node)) for (const name of captured(graph)) names.add(name);
  return names;
}

/** The bodies of a control-flow node. */
export function subgraphs(node: NodeProto): GraphProto[] {
  return node.attribute.flatMap((a) => [...(a.g ? [a.g] : []), ...a.graphs]);
}

/** The nodes of a graph or a local function and, behind each, those of its bodies. */
export function* everyNode(graph: Readonly<Pick<GraphProto, 'node'>>): Generator<NodeProto> {
  for (const node of graph.node) {
    yield node;
    for (const body of subgraphs(node)) yield* everyNode(body);
  }
}

/** Names that a body uses but does not define. */
export function captured(graph: Readonly<GraphProto>): Set<string> {
  const defined = new Set([
    ...graph.input.map((v) => v.name),
    ...graph.initializer.map((t) => t.name),
    ...graph.sparse_initializer.map((t) => t.values?.name ?? ''),
  ]);
  const free = new Set<string>();
  for (const node of graph.node) {
    for (const name of reads(node)) if (!defined.has(name)) free.add(name);
    for (const name of node.output) defined.add(name);
  }
  for (const output of graph.output) if (!defined.has(output.name)) free.add(output.name);
  return free;
}

/** An input the user must feed: name, type, and dims as numbers, symbolic names, or '?' where nothing is said; undefined where no shape is declared, so that any rank may come. */
export interface ModelInput {
  readonly name: string;
  readonly type: DType;
  readonly dims: readonly (number | string)[] | undefined;
}

/** The inputs a user feeds: graph inputs that no initializer gives a value. */
export function modelInputs(model: Model): ModelInput[] {
  const given = initializers(model.graph);
  return model.graph.input.filter((input) => !given.has(input.name)).map(describeValue);
}

/** Name, type and dims of a value_info entry. Some exporters (Paddle) write −1 for a size that is free. */
export function describeValue(value: ValueInfoProto): ModelInput {
  const tensor = value.type?.tensor_type;
  const dims = tensor?.shape?.dim.map((d) => {
    const size = d.dim_value != null && Object.hasOwn(d, 'dim_value') ? toNumber(d.dim_value) : -1;
    return size < 0 ? d.dim_param || '?' : size;
  });
  return { name: value.name, type: dtypeOf(tensor?.elem_type ?? 1) ?? 'float32', dims };
}

/** A node's name, or what tells it apart where the exporter gave none: its first output. */
export function layerName(node: NodeProto): string {
  return node.name || node.output[0] || node.op_type;
}

/** The version of an operator domain the model imports ('' = ai.onnx); 0 where it imports none. */
export function opset(model: Model, domain = ''): number {
  const entry = model.proto.opset_import.find((o) => o.domain === domain || (domain === '' && o.domain === 'ai.onnx'));
  return entry ? toNumber(entry.version) : 0;
}

/** Whether a node is of the standard operator set and of that type. */
export function isOp(node: NodeProto, ...types: readonly string[]): boolean {
  return (node.domain === '' || node.domain === 'ai.onnx') && types.includes(node.op_type);
}
