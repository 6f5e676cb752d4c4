import type { Tensor } from '../../data/types.ts';
import { modelOf, type Model } from '../../graph/model.ts';
import { GraphCodec, ModelCodec, ValueInfoCodec, type NodeProto, type TensorProto } from '../../graph/proto.ts';
import { initializers, layerName, producers, reads, subgraphs } from '../../graph/query.ts';
import type { Note, PassContext } from '../pass.ts';

/** Operators that are left alone even where all their inputs are constant. */
const never = new Set(
  'Constant Dropout RandomNormal RandomUniform RandomNormalLike RandomUniformLike Multinomial Bernoulli QuantizeLinear DequantizeLinear DynamicQuantizeLinear SequenceConstruct SequenceEmpty SequenceInsert SequenceErase SplitToSequence Optional'.split(
    ' ',
  ),
);

/** A node with constant values that the rest of the graph reads, and the nodes and initializers they are computed from. */
export interface ConstantResult {
  readonly node: NodeProto;
  readonly names: readonly string[];
  readonly nodes: ReadonlySet<NodeProto>;
  readonly leaves: readonly TensorProto[];
}

/** The nodes of the main graph that compute from constants alone, with values that other nodes read. */
export function constantResults(model: Model): ConstantResult[] {
  const tensors = initializers(model.graph);
  const made = producers(model.graph);
  const outputs = new Set(model.graph.output.map((o) => o.name));
  const constant = new Set(tensors.keys());
  const nodes = new Set<NodeProto>();
  for (const node of model.graph.node) {
    const standard = node.domain === '' || node.domain === 'ai.onnx';
    if (!standard || never.has(node.op_type) || subgraphs(node).length > 0 || node.input.length === 0) continue;
    if (node.output.some((name) => outputs.has(name)) || ![...reads(node)].every((name) => constant.has(name)))
      continue;
    nodes.add(node);
    for (const name of node.output) constant.add(name);
  }
  const wanted = new Set(model.graph.node.filter((node) => !nodes.has(node)).flatMap((node) => [...reads(node)]));
  return [...nodes].flatMap((node) => {
    const names = node.output.filter((name) => wanted.has(name));
    return names.length > 0 ? [{ node, names, ...cone(node, made, tensors) }] : [];
  });
}

function cone(
  node: NodeProto,
  made: ReadonlyMap<string, NodeProto>,
  tensors: ReadonlyMap<string, TensorProto>,
): Pick<ConstantResult, 'nodes' | 'leaves'> {
  const nodes = new Set<NodeProto>();
  const leaves = new Set<TensorProto>();
  const open = [node];
  for (let next = open.pop(); next; next = open.pop()) {
    if (nodes.has(next)) continue;
    nodes.add(next);
    for (const name of reads(next)) {
      const tensor = tensors.get(name);
      if (tensor) leaves.add(tensor);
      const from = made.get(name);
      if (from) open.push(from);
    }
  }
  return { nodes, leaves: [...leaves] };
}

/** All results in one graph; where that fails, one by one, and those that fail are left alone. */
export async function computeResults(
  model: Model,
  results: readonly ConstantResult[],
  ctx: PassContext,
  skipped: Note[],
): Promise<Map<string, Tensor>> {
  const run = async (some: readonly ConstantResult[]): Promise<[string, Tensor][]> =>
    Object.entries(await ctx.compute(graphOf(model, some), {}));
  try {
    return new Map(await run(results));
  } catch {
    ctx.signal.throwIfAborted();
  }
  const values: [string, Tensor][] = [];
  for (const result of results)
    try {
      values.push(...(await run([result])));
    } catch (cause) {
      ctx.signal.throwIfAborted();
      const why = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause);
      skipped.push({ layer: layerName(result.node), text: `its constant result could not be computed: ${why}` });
    }
  return new Map(values);
}

function graphOf(model: Model, results: readonly ConstantResult[]): Model {
  const nodes = new Set(results.flatMap((result) => [...result.nodes]));
  const leaves = new Set(results.flatMap((result) => result.leaves));
  const graph = GraphCodec.create({
    name: 'constants',
    node: model.graph.node.filter((node) => nodes.has(node)),
    initializer: [...leaves],
    input: [],
    output: results.flatMap(({ names }) => names.map((name) => ValueInfoCodec.create({ name }))),
  });
  return modelOf(ModelCodec.amend(model.proto, { graph }));
}
