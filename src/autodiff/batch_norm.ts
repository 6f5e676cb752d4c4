import { floatAttribute } from '../graph/attribute.ts';
import { makeNode } from '../graph/build.ts';
import type { NodeProto } from '../graph/proto.ts';
import { layerName } from '../graph/query.ts';
import { elementCount } from '../graph/tensor.ts';
import { must } from '../util/must.ts';
import type { Target } from './rule.ts';
import { add, scaled, type GraphWriter, type Value } from './writer.ts';

/** A node as its gradient rule sees it, and what is run in its place. */
interface Normalizing {
  readonly node: NodeProto;
  readonly written: readonly NodeProto[];
}

/**
 * A BatchNormalization that takes the batch's own statistics. onnxruntime's kernel writes them into the buffers of the statistics that it
 * is given, whoever owns them, so it is given computed ones that nobody else reads; running averages are kept by own arithmetic.
 * WebGPU's kernel takes no batch's statistics, and says so only when it runs: there single operators compute the same.
 * @param next running statistics by their name, as they are behind each node that moves them: this node's are added.
 */
export function trainingBatchNorm(
  node: NodeProto,
  values: Map<string, Value>,
  w: GraphWriter,
  next: Map<string, readonly Value[]>,
  target: Target,
): Normalizing {
  const { dims } = must(values, node.input[0] ?? '', 'the shape of');
  const channels = [dims[1]!];
  const value = (name: string): Value => {
    values.set(name, { name, dims: channels });
    return { name, dims: channels };
  };
  const running = node.input.slice(3, 5).map(value);
  const batch = running.map(() => value(w.fresh('batch_statistics')));
  // Equal copies would be made one, and nodes that share statistics would write over each other's.
  const part = w.scalar(1 / (2 + (next.get(running[0]!.name)?.length ?? 0))).name;
  const copies = running.map(({ name }) => makeNode('Mul', [name, part], [w.fresh('statistics')]));
  const epsilon = floatAttribute(node, 'epsilon', 1e-5);
  const inputs = [...node.input.slice(0, 3), ...copies.map(({ output }) => output[0]!)];
  const outputs = [node.output[0]!, ...batch.map(({ name }) => name)];
  const whole = makeNode('BatchNormalization', inputs, outputs, { training_mode: 1, momentum: { float: 0 }, epsilon: { float: epsilon } }, { name: layerName(node) }); // prettier-ignore
  const momentum = floatAttribute(node, 'momentum', 0.9);
  const count = elementCount(dims) / dims[1]!;
  // The batch's variance is divided by the count; the running one, as in PyTorch, by one less.
  for (const [i, factor] of [1, count / Math.max(1, count - 1)].entries()) {
    const { name } = running[i]!;
    const known = next.get(name) ?? [];
    const before = scaled(w, known.at(-1) ?? running[i]!, momentum);
    next.set(name, [...known, add(w, before, scaled(w, batch[i]!, (1 - momentum) * factor))]);
  }
  return { node: whole, written: target === 'cpu' ? [...copies, whole] : inSingleSteps(whole, dims, epsilon, w) };
}

/** (x − μ) γ / √(σ² + ε) + β, with μ and σ² over all axes but the channels'. */
function inSingleSteps(
  { input, output }: NodeProto,
  dims: readonly number[],
  epsilon: number,
  w: GraphWriter,
): NodeProto[] {
  // prettier-ignore
  const nodes: NodeProto[] = [];
  const [x, scale, shift] = input as [string, string, string];
  const [y, mu, variance] = output as [string, string, string];
  const put = (type: string, operands: readonly string[], as = w.fresh(type), keepdims = {}): string => {
    nodes.push(makeNode(type, operands, [as], keepdims));
    return as;
  };
  const axes = w.ints([...dims.keys()].filter((axis) => axis !== 1)).name;
  const wide = w.ints(dims.map((size, axis) => (axis === 1 ? size : 1))).name;
  const flat = w.ints([dims[1]!]).name;
  const meanOf = (of: string): string => put('ReduceMean', [of, axes], undefined, { keepdims: 1 });
  const middle = meanOf(x);
  const centred = put('Sub', [x, middle]);
  const spread = meanOf(put('Mul', [centred, centred]));
  const deviation = put('Sqrt', [put('Add', [spread, w.scalar(epsilon).name])]);
  const factor = put('Div', [put('Reshape', [scale, wide]), deviation]);
  put('Add', [put('Mul', [centred, factor]), put('Reshape', [shift, wide])], y);
  put('Reshape', [middle, flat], mu);
  put('Reshape', [spread, flat], variance);
  return nodes;
}
