import { each } from '../util/words.ts';
import { intAttribute, stringAttribute } from './attribute.ts';
import {
  activationQuirk,
  fusedMatMulAxes,
  fusedMatMulQuirk,
  gemmQuirk,
  products,
  tableAxes,
  turnedRecurrentAxes,
  type Product,
} from './product.ts';
import type { NodeProto } from './proto.ts';
import { isOp } from './query.ts';

/**
 * The table of operators: what their inputs mean and what onnxruntime 1.30 does with them, one row each. Everything that asks "is it
 * a Conv?" asks the row. A row answers every question; a question that is forgotten does not compile. Sources: ONNX's operators
 * (https://onnx.ai/onnx/operators/, `onnx__<name>.html` there) and, for com.microsoft,
 * https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md. What kernels do was measured (docs/passes/quantize.md).
 */
export interface Op {
  /** What it multiplies by weights; undefined: it is no layer. */
  readonly product: Product | undefined;
  /** What static quantization does at it, or in a sentence why it stops there. */
  readonly quantization: (node: NodeProto) => Role | string;
  /** It only moves numbers: each element of the output is one of the first input, or zero. */
  readonly moves: boolean;
}

/**
 * What static quantization does at an operator, after what onnxruntime really fuses:
 *
 * - `kernel`: multiplies by weights, has an integer kernel. `needsOutput`: stays in float unless its output is quantized too.
 * - `own`: has an integer kernel, or costs nothing, and gets a scale of its own for its output.
 * - `same`: only moves numbers, so that its output takes its input's scale and no accuracy is lost.
 * - `clamp`: disappears into the quantization of what stands before it (Relu, Clip).
 */
export type Role =
  | {
      readonly kind: 'kernel';
      readonly weight: number;
      readonly bias: number | undefined;
      readonly needsOutput: boolean;
    }
  | { readonly kind: 'own' | 'same'; readonly inputs: readonly number[] }
  | { readonly kind: 'clamp' };

const none: Op['quantization'] = (node) => `onnxruntime has no integer kernel for ${node.op_type} that QDQ fuses to`;
const layer = (product: Product, more: Partial<Product> = {}, role: Op['quantization'] = none): Op => ({
  product: { ...product, ...more },
  quantization: role,
  moves: false,
});
const integer = (
  product: Product,
  weight: number,
  { bias, zeroPoint, data = 0 }: { readonly bias?: number; readonly zeroPoint?: number; readonly data?: number } = {},
): Op => layer(product, { weights: [weight], integer: true, bias, zeroPoint, data });

const own = (inputs: readonly number[]): Op => ({
  product: undefined,
  quantization: () => ({ kind: 'own', inputs }),
  moves: false,
});
const moves = (refused: (node: NodeProto) => string | undefined = () => undefined): Op => ({
  product: undefined,
  quantization: (node) => refused(node) ?? { kind: 'same', inputs: [0] },
  moves: true,
});
const clamp: Op = { product: undefined, quantization: () => ({ kind: 'clamp' }), moves: false };

const kernel =
  (weight: number, bias: number | undefined, needsOutput: boolean): Op['quantization'] =>
  () => ({ kind: 'kernel', weight, bias, needsOutput });

const standard: Readonly<Record<string, Op>> = {
  // A Conv whose output is not quantized stays in float; Gemm and MatMul run as QGemm and MatMulIntegerToFloat.
  Conv: layer(products.Conv, {}, kernel(1, 2, true)),
  Gemm: layer(products.Gemm, {}, kernel(1, 2, false)),
  MatMul: layer(products.MatMul, {}, kernel(1, undefined, false)),
  ConvTranspose: layer(products.ConvTranspose),
  DeformConv: layer(products.DeformConv),
  Einsum: layer(products.Einsum),
  LSTM: layer(products.RNN, { more: [7] }),
  ...each(layer(products.RNN), 'GRU RNN'),
  Attention: layer(products.Attention),
  QLinearConv: integer(products.Conv, 3, { bias: 8, zeroPoint: 5 }),
  ConvInteger: integer(products.Conv, 1, { zeroPoint: 3 }),
  QLinearMatMul: integer(products.MatMul, 3, { zeroPoint: 5 }),
  MatMulInteger: integer(products.MatMul, 1, { zeroPoint: 3 }),
  // A Gather moves what it looks up; with a constant table it is an embedding, a layer (`layerOf`).
  Gather: { ...moves(), product: products.Gather },
  ...each(clamp, 'Relu Clip'),
  ...each(own([0, 1]), 'Add Mul'),
  Concat: {
    product: undefined,
    quantization: (node) => ({ kind: 'own', inputs: node.input.map((_, i) => i) }),
    moves: true,
  },
  ...each(own([0]), 'GlobalAveragePool AveragePool LeakyRelu Sigmoid'),
  MaxPool: moves((node) =>
    node.output.filter((o) => o !== '').length > 1 ? 'a MaxPool that gives indices has no integer kernel' : undefined,
  ),
  Resize: moves((node) =>
    stringAttribute(node, 'mode', 'nearest') === 'cubic'
      ? 'onnxruntime has no integer kernel for cubic Resize'
      : undefined,
  ),
  // Zeros are exactly representable, other padding values may not be.
  Pad: moves((node) =>
    stringAttribute(node, 'mode', 'constant') === 'constant' && node.input[2]
      ? 'pads with a value that may not be representable'
      : undefined,
  ),
  ...each(moves(), 'Reshape Flatten Transpose Squeeze Unsqueeze Slice Split Identity Expand DepthToSpace SpaceToDepth'),
  // The largest code is the code of the largest number. uint8 takes no longer than float32 (seen in 1.30).
  ReduceMax: moves(),
};

const contributed: Readonly<Record<string, Op>> = {
  FusedConv: layer(products.Conv, { quirk: activationQuirk }),
  FusedMatMul: layer(products.MatMul, {
    weights: [1],
    axes: fusedMatMulAxes,
    quirk: fusedMatMulQuirk,
    macs: (node) => [[{ of: 'out' }, { of: 'data', at: intAttribute(node, 'transA', 0) === 1 ? -2 : -1 }]],
  }),
  FusedGemm: layer(products.Gemm, { quirk: (node) => gemmQuirk(node) ?? activationQuirk(node) }),
  QLinearConv: integer(products.Conv, 3, { bias: 8, zeroPoint: 5 }),
  QGemm: integer(products.Gemm, 3, { bias: 6, zeroPoint: 5 }),
  MatMulIntegerToFloat: integer(products.MatMul, 1, { bias: 6, zeroPoint: 5 }),
  DynamicQuantizeMatMul: integer(products.MatMul, 1, { bias: 4, zeroPoint: 3 }),
  // B is packed: [N, blocks of K, bytes].
  MatMulNBits: layer(products.MatMul, { weights: [1], integer: true, bias: 5, axes: tableAxes }),
  DynamicQuantizeLSTM: layer(products.RNN, { integer: true, axes: turnedRecurrentAxes }),
  GatherBlockQuantized: integer(products.Gather, 0, { data: 1 }),
  Attention: layer(products.Attention, { weights: [1], bias: 2 }),
  QAttention: layer(products.Attention, { weights: [1], bias: 2, integer: true }),
  ...each(layer(products.Attention), 'MultiHeadAttention GroupQueryAttention'),
};

/** The row of a node's operator; undefined for operators that nothing here is known of. */
export function opOf(node: NodeProto): Op | undefined {
  if (node.domain === 'com.microsoft') return contributed[node.op_type];
  if (node.domain === 'com.microsoft.nchwc' && node.op_type === 'Conv') return standard.Conv;
  return isOp(node, node.op_type) ? standard[node.op_type] : undefined;
}

/** What a node multiplies by weights; undefined for operators that are no layers (activations, pooling, moving data). */
export function productOf(node: NodeProto): Product | undefined {
  return opOf(node)?.product;
}

/** Whether a node only moves numbers. */
export function isMove(node: NodeProto): boolean {
  return opOf(node)?.moves === true;
}

/** Axis of a weight's output channels that scales run along: the last one where there are several. */
export function channelAxis(node: NodeProto, input: number, rank: number): number | undefined {
  return productOf(node)?.axes(node, input, rank)?.out.at(-1);
}
