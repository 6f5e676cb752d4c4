import { intAttribute } from '../../graph/attribute.ts';
import { makeModel, makeNode, makeValue } from '../../graph/build.ts';
import { dtypes } from '../../graph/dtype.ts';
import type { Model } from '../../graph/model.ts';
import { NodeCodec, type NodeProto, type ValueInfoProto } from '../../graph/proto.ts';
import { makeTensor } from '../../graph/tensor.ts';
import type { Feeds, Tensor } from '../../data/types.ts';
import { signedBytes, type Bytes } from './arrays.ts';
import type { ProductStep } from './steps.ts';

/** An input of a tensor's type and rank, of any size. */
export function declared(name: string, { type, dims }: Pick<Tensor, 'type' | 'dims'>): ValueInfoProto {
  return makeValue(name, type, dims.map((_, d) => `${name}_${d}`)); // prettier-ignore
}

/** Bytes under the names that a graph of products reads. */
export function byteFeeds(name: string, dims: readonly number[], bytes: readonly Bytes[]): Feeds {
  return Object.fromEntries(bytes.map(({ data }, i) => [`${name}${i}`, { type: 'uint8', dims, data }] as const));
}

/** One factor of a product: its shape, and bytes of it. */
export interface Factor {
  readonly dims: readonly number[];
  readonly bytes: readonly Bytes[];
}

/**
 * From the bytes of the data, `x0` …, and of a computed factor, `w0` …, to int32 accumulators `y`: ConvInteger or MatMulInteger of every two
 * bytes. As `float64` they do not wrap. Both factors are uint8: onnxruntime's kernels for those are exact on every processor, where uint8 · int8 saturates on some.
 */
export function productGraph(
  step: Pick<ProductStep, 'node' | 'as'>,
  data: Factor,
  other: Factor | { readonly dims: readonly number[]; readonly values: Int32Array },
  bias: Int32Array | undefined,
  type: 'int32' | 'float64' = 'int32',
): Model {
  const { node, as } = step;
  const stored = 'values' in other;
  const turned = as === 'Gemm' && intAttribute(node, 'transB', 0) === 1;
  const factor = stored ? weightsOf(turned, other) : other;
  const inputs = Object.entries({
    ...byteFeeds('x', data.dims, data.bytes),
    ...(stored ? {} : byteFeeds('w', factor.dims, factor.bytes)),
  }).map(([name, tensor]) => declared(name, tensor));
  const turn = as === 'Gemm' && intAttribute(node, 'transA', 0) === 1;
  const nodes = turn ? data.bytes.map((_, i) => makeNode('Transpose', [`x${i}`], [`x${i}_t`], { perm: [1, 0] })) : [];
  const zeros = (name: string, { bytes }: Factor) =>
    bytes.map(({ zero }, i) => makeTensor(`${name}${i}_z`, 'uint8', [], Uint8Array.of(zero)));
  const numbers = (list: ArrayLike<number>): Int32Array | Float64Array =>
    type === 'int32' ? Int32Array.from(list) : Float64Array.from(list);
  const units = [1, 2, 3].map((i) => makeTensor(`unit${i}`, type, [], numbers([256 ** i])));
  let sum = '';
  const add = (term: string): void => {
    const next = `sum_${term}`;
    if (sum !== '') nodes.push(makeNode('Add', [sum, term], [next]));
    sum = sum === '' ? term : next;
  };
  for (const [i] of data.bytes.entries())
    for (const [j] of factor.bytes.entries()) {
      // What is shifted out of 32 bits is nothing.
      if (i + j > 3) continue;
      const part = `p${i}${j}`;
      const name = type === 'int32' ? part : `${part}_wide`;
      const read = [turn ? `x${i}_t` : `x${i}`, `w${j}`, `x${i}_z`, `w${j}_z`];
      nodes.push(as === 'Conv' ? convolution(node, read, part) : makeNode('MatMulInteger', read, [part]));
      if (type === 'float64') nodes.push(makeNode('Cast', [part], [name], { to: dtypes.float64.code }));
      if (i + j > 0) nodes.push(makeNode('Mul', [name, `unit${i + j}`], [`${name}_whole`]));
      add(i + j > 0 ? `${name}_whole` : name);
    }
  if (bias !== undefined) add('bias');
  const spread = as === 'Conv' ? [1, bias?.length ?? 0, ...factor.dims.slice(2).map(() => 1)] : [bias?.length ?? 0];
  return makeModel({
    inputs,
    outputs: [makeValue('y', type)],
    nodes: [...nodes, makeNode('Identity', [sum], ['y'])],
    initializers: [
      ...(stored ? factor.bytes.map((bytes, j) => makeTensor(`w${j}`, 'uint8', factor.dims, bytes.data)) : []),
      ...[...zeros('x', data), ...zeros('w', factor), ...units],
      ...(bias === undefined ? [] : [makeTensor('bias', type, spread, numbers(bias))]),
    ],
  });
}

const kept = new Set(['auto_pad', 'dilations', 'group', 'kernel_shape', 'pads', 'strides']);

function convolution(node: NodeProto, input: readonly string[], output: string): NodeProto {
  const plain = makeNode('ConvInteger', input, [output]);
  return NodeCodec.amend(plain, { attribute: node.attribute.filter(({ name }) => kept.has(name)) });
}

/** Weights as a product reads them: MatMulInteger has no transposes. */
function weightsOf(
  turned: boolean,
  { dims, values }: { readonly dims: readonly number[]; readonly values: Int32Array },
): Factor {
  if (!turned) return { dims, bytes: signedBytes(values) };
  const [rows = 0, columns = 0] = dims;
  const across = values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!);
  return { dims: [columns, rows], bytes: signedBytes(across) };
}

/** From [planes, 1, …] to the sums over the windows of an average pool. */
export function windowGraph(node: NodeProto, window: readonly number[], data: Tensor): Model {
  const ones = new Float32Array(window.reduce((a, b) => a * b, 1)).fill(1);
  const conv = makeNode('Conv', ['x', 'w'], ['y']);
  return makeModel({
    inputs: [declared('x', data)],
    outputs: [makeValue('y', 'float32')],
    nodes: [NodeCodec.amend(conv, { attribute: node.attribute.filter(({ name }) => kept.has(name)) })],
    initializers: [makeTensor('w', 'float32', [1, 1, ...window], ones)],
  });
}
