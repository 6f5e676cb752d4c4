import type { GraphProto, NodeProto } from '../graph/proto.ts';
import { isOp, reads } from '../graph/query.ts';

/**
 * What an operator that multiplies looks like: where its weights are, and which ONNX operator it computes. Operators of
 * com.microsoft are what quantizers and onnxruntime's optimizer write
 * (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md).
 */
export interface LayerKind {
  /** The plain operator: `Conv` for QLinearConv … */
  readonly as: 'Conv' | 'ConvTranspose' | 'Gemm' | 'MatMul' | 'RNN' | 'Gather' | 'Einsum' | 'Attention' | 'DeformConv';
  /** Index of the activation (left operand) among the inputs. */
  readonly data: number;
  /** Indices of inputs that hold weights where they are constant; the first is the main one. */
  readonly weights: readonly number[];
  /** Multiplies integers, or holds its weights as integers while it computes. */
  readonly integer: boolean;
  /** Index of the weights' zero point, for operators that read integer weights themselves. */
  readonly zeroPoint?: number;
}

type As = LayerKind['as'];
const float = (as: As, weights: readonly number[], data = 0): LayerKind => ({ as, data, weights, integer: false });
const integer = (as: As, weights: readonly number[], zeroPoint?: number, data = 0): LayerKind => ({
  as,
  data,
  weights,
  integer: true,
  ...(zeroPoint === undefined ? {} : { zeroPoint }),
});

const standard: Readonly<Record<string, LayerKind>> = {
  Conv: float('Conv', [1, 2]),
  ConvTranspose: float('ConvTranspose', [1, 2]),
  DeformConv: float('DeformConv', [1, 3]),
  Gemm: float('Gemm', [1, 2]),
  MatMul: float('MatMul', [1, 0]),
  Einsum: float('Einsum', [1]),
  LSTM: float('RNN', [1, 2, 3, 7]),
  GRU: float('RNN', [1, 2, 3]),
  RNN: float('RNN', [1, 2, 3]),
  Gather: float('Gather', [0], 1),
  Attention: float('Attention', []),
  QLinearConv: integer('Conv', [3, 8], 5),
  ConvInteger: integer('Conv', [1], 3),
  QLinearMatMul: integer('MatMul', [3], 5),
  MatMulInteger: integer('MatMul', [1], 3),
};

const contributed: Readonly<Record<string, LayerKind>> = {
  FusedConv: float('Conv', [1, 2]),
  FusedMatMul: float('MatMul', [1]),
  FusedGemm: float('Gemm', [1, 2]),
  QLinearConv: integer('Conv', [3, 8], 5),
  QGemm: integer('Gemm', [3, 6], 5),
  MatMulIntegerToFloat: integer('MatMul', [1, 6], 5),
  DynamicQuantizeMatMul: integer('MatMul', [1, 4], 3),
  MatMulNBits: integer('MatMul', [1, 5]),
  DynamicQuantizeLSTM: integer('RNN', [1, 2, 3]),
  GatherBlockQuantized: integer('Gather', [0], undefined, 1),
  Attention: float('Attention', [1, 2]),
  QAttention: integer('Attention', [1, 2]),
  MultiHeadAttention: float('Attention', []),
  GroupQueryAttention: float('Attention', []),
};

/** What a node multiplies; undefined for operators that are no layers (activations, pooling, moving data). */
export function layerKind(node: NodeProto): LayerKind | undefined {
  if (node.domain === 'com.microsoft') return contributed[node.op_type];
  if (node.domain === 'com.microsoft.nchwc' && node.op_type === 'Conv') return standard.Conv;
  return isOp(node, node.op_type) ? standard[node.op_type] : undefined;
}

/** Values that depend on constants alone: initializers, Constant nodes, and what is computed from them (dequantized weights …). */
export function constantValues(graph: Readonly<GraphProto>): ReadonlySet<string> {
  const known = new Set(graph.initializer.map((tensor) => tensor.name));
  for (const node of graph.node)
    if ([...reads(node)].every((name) => known.has(name)) && !node.op_type.startsWith('Random'))
      for (const name of node.output) known.add(name);
  return known;
}

/**
 * `layerKind`, but a Gather is a layer only where it looks rows up in a constant table (an embedding). What unpacks stored
 * weights, a Gather or an integer product of constants, is none.
 */
export function layerOf(node: NodeProto, constants: ReadonlySet<string>): LayerKind | undefined {
  const found = layerKind(node);
  const gather = found?.as === 'Gather';
  const unpacks = (gather || found?.integer === true) && constants.has(node.output[0] ?? '');
  return unpacks || (gather && !constants.has(node.input[0] ?? '')) ? undefined : found;
}
