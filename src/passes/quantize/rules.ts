import { intAttribute, stringAttribute } from '../../graph/attribute.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { isOp } from '../../graph/query.ts';

/**
 * What quantization does at an operator, after what onnxruntime 1.30 really fuses (docs/passes/quantize.md):
 *
 * - `kernel`: multiplies by weights, has an integer kernel.
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

/** The role of a node; undefined where quantization stops at it (no integer kernel, or not known). */
export function roleOf(node: NodeProto): Role | undefined {
  // A Conv whose output is not quantized stays in float; Gemm and MatMul run as QGemm and MatMulIntegerToFloat.
  if (isOp(node, 'Conv')) return { kind: 'kernel', weight: 1, bias: 2, needsOutput: true };
  if (isOp(node, 'Gemm')) return { kind: 'kernel', weight: 1, bias: 2, needsOutput: false };
  if (isOp(node, 'MatMul')) return { kind: 'kernel', weight: 1, bias: undefined, needsOutput: false };
  if (isOp(node, 'Relu', 'Clip')) return { kind: 'clamp' };
  if (isOp(node, 'Add', 'Mul')) return { kind: 'own', inputs: [0, 1] };
  if (isOp(node, 'Concat')) return { kind: 'own', inputs: node.input.map((_, i) => i) };
  if (isOp(node, 'GlobalAveragePool', 'AveragePool', 'LeakyRelu', 'Sigmoid')) return { kind: 'own', inputs: [0] };
  if (isOp(node, 'MaxPool') && node.output.filter((o) => o !== '').length > 1) return undefined;
  if (isOp(node, 'Resize') && stringAttribute(node, 'mode', 'nearest') === 'cubic') return undefined;
  // Zeros are exactly representable, other padding values may not be.
  if (isOp(node, 'Pad') && stringAttribute(node, 'mode', 'constant') === 'constant' && node.input[2]) return undefined;
  const moves = [
    'MaxPool',
    'Reshape',
    'Flatten',
    'Transpose',
    'Squeeze',
    'Unsqueeze',
    'Slice',
    'Split',
    'Pad',
    'Resize',
    'Identity',
    'Expand',
    'DepthToSpace',
    'SpaceToDepth',
  ];
  if (isOp(node, ...moves)) return { kind: 'same', inputs: [0] };
  if (isOp(node, 'Gather') && node.input[0] !== '') return { kind: 'same', inputs: [0] };
  return undefined;
}

/** Axis of a weight's output channels: what per-channel scales run along. */
export function channelAxis(node: NodeProto, rank: number): number {
  if (isOp(node, 'ConvTranspose')) return 1;
  if (isOp(node, 'MatMul')) return rank - 1;
  if (isOp(node, 'Gemm')) return intAttribute(node, 'transB', 0) === 1 ? 0 : 1;
  return 0;
}
