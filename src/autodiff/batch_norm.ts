import { floatAttribute } from '../graph/attribute.ts';
import { makeNode } from '../graph/build.ts';
import type { NodeProto } from '../graph/proto.ts';
import { layerName } from '../graph/query.ts';
import { elementCount } from '../graph/tensor.ts';
import { must } from '../util/must.ts';
import { add, scaled, type GraphWriter, type Value } from './writer.ts';

/**
 * A BatchNormalization that takes the batch's own statistics. onnxruntime's kernel writes them into the buffers of the statistics that it
 * is given, whoever owns them, so it is given computed ones that nobody else reads; running averages are kept by own arithmetic.
 * @param next running statistics by their name, as they are behind each node that moves them: this node's are added.
 */
export function trainingBatchNorm(
  node: NodeProto,
  values: Map<string, Value>,
  w: GraphWriter,
  next: Map<string, readonly Value[]>,
): NodeProto[] {
  const { dims } = must(values, node.input[0] ?? '', 'the shape of');
  const channels = [dims[1]!];
  const value = (name: string): Value => {
    values.set(name, { name, dims: channels });
    return { name, dims: channels };
  };
  const running = node.input.slice(3, 5).map(value);
  const copies = running.map(() => value(w.fresh('statistics')));
  const batch = running.map(() => value(w.fresh('batch_statistics')));
  // Equal copies would be made one, and nodes that share statistics would write over each other's.
  const part = w.scalar(1 / (2 + (next.get(running[0]!.name)?.length ?? 0))).name;
  const nodes = copies.map((copy, i) => makeNode('Mul', [running[i]!.name, part], [copy.name]));
  const epsilon = { float: floatAttribute(node, 'epsilon', 1e-5) };
  const inputs = [...node.input.slice(0, 3), ...copies.map(({ name }) => name)];
  const outputs = [node.output[0]!, ...batch.map(({ name }) => name)];
  nodes.push(makeNode('BatchNormalization', inputs, outputs, { training_mode: 1, momentum: { float: 0 }, epsilon }, { name: layerName(node) })); // prettier-ignore
  const momentum = floatAttribute(node, 'momentum', 0.9);
  const count = elementCount(dims) / dims[1]!;
  // The batch's variance is divided by the count; the running one, as in PyTorch, by one less.
  for (const [i, factor] of [1, count / Math.max(1, count - 1)].entries()) {
    const { name } = running[i]!;
    const known = next.get(name) ?? [];
    const before = scaled(w, known.at(-1) ?? running[i]!, momentum);
    next.set(name, [...known, add(w, before, scaled(w, batch[i]!, (1 - momentum) * factor))]);
  }
  return nodes;
}
