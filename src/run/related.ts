import { layers } from '../graph/layer.ts';
import type { Model } from '../graph/model.ts';
import type { NodeProto, TensorProto } from '../graph/proto.ts';
import { initializers, isOp, layerName, producers } from '../graph/query.ts';
import { intAttribute } from '../graph/attribute.ts';
import { dimsOf, tensorData, typeOf } from '../graph/tensor.ts';

/** Elements that have to be compared before signs that agree tell anything. */
const enough = 64;

/** Layers of one name, operator and shape in both models, and those of them whose weights agree in sign no more than by chance. */
export interface Relation {
  readonly compared: number;
  readonly unrelated: number;
}

/**
 * Whether the weights of two models have to do with each other. Of weights that were rounded, pruned or scaled channel by channel, the signs of
 * those that are not 0 stay; of nets that were trained apart about half of them agree. What is stored otherwise than as numbers or codes
 * behind DequantizeLinear is not compared.
 */
export function relationOf(base: Model, model: Model): Relation {
  const twins = new Map(model.graph.node.map((node) => [layerName(node), node]));
  const [mine, theirs] = [reader(base), reader(model)];
  let [compared, unrelated] = [0, 0];
  for (const { node, name, input, weight } of layers(base).layers) {
    const twin = twins.get(name);
    const same = twin?.op_type === node.op_type && intAttribute(twin, 'transB', 0) === intAttribute(node, 'transB', 0);
    const [a, b] = [mine(node, input), same ? theirs(twin, input) : undefined];
    if (!a || !b || a.length !== b.length || dimsOf(weight.tensor).length < 2) continue;
    const both = a.reduce((sum, v, i) => sum + Math.abs(v * (b[i] ?? 0)), 0);
    if (both < enough) continue;
    const agree = a.reduce((sum, v, i) => sum + (v * (b[i] ?? 0) > 0 ? 1 : 0), 0);
    compared++;
    // Three deviations of a toss, and a tenth: nets of one kind share a little by their data.
    if (agree / both < 0.5 + Math.max(0.1, 1.5 / Math.sqrt(both))) unrelated++;
  }
  return { compared, unrelated };
}

/** Signs of a node's weights, in the order of the tensor; undefined where they are not stored so that they can be read. */
function reader({ graph }: Model): (node: NodeProto, input: number) => Int8Array | undefined {
  const [stored, made] = [initializers(graph), producers(graph)];
  return (node, input) => {
    const name = node.input[input] ?? '';
    const plain = stored.get(name);
    if (plain) return signsOf(plain);
    const from = made.get(name);
    if (!from || !isOp(from, 'DequantizeLinear', 'Cast')) return undefined;
    const codes = stored.get(from.input[0] ?? '');
    const zero = stored.get(from.input[2] ?? '');
    // Asymmetric codes are read where one zero point is for all.
    return codes && signsOf(codes, zero && valuesOf(zero));
  };
}

function signsOf(tensor: TensorProto, zeros: ArrayLike<number> = [0]): Int8Array | undefined {
  const values = valuesOf(tensor);
  const zero = zeros?.[0] ?? 0;
  if (!values || Array.from(zeros).some((one) => one !== zero)) return undefined;
  return Int8Array.from(values, (v) => Math.sign(v - zero));
}

/** Numbers of a tensor whose elements are one a place in its array; float16 by its bits, whose sign and zero are those of a number. */
function valuesOf(tensor: TensorProto): ArrayLike<number> | undefined {
  const type = typeOf(tensor);
  const data = tensorData(tensor);
  if (type === 'float16') return Int16Array.from(data as Uint16Array, (bits) => ((bits & 0x7fff) === 0 ? 0 : bits & 0x8000 ? -1 : 1)); // prettier-ignore
  return ['float32', 'float64', 'int8', 'uint8'].includes(type) ? (data as Float32Array) : undefined;
}
