import { acrossChannels, argument, layerNorm, lpNormalization, reduce, softmax } from './reduce.ts';
import { batchNorm, conv, convTranspose, perChannel, recurrent } from './conv.ts';
import { gemm, matMul } from './contract.ts';
import { concat, depthToSpace, gather, resize, spaceToDepth, split, transpose } from './layout.ts';
import { pad } from './pad.ts';
import { slice } from './slice.ts';
import { pointwise, quantization, unary } from './pointwise.ts';
import { expand, reshape, tile } from './reshape.ts';
import type { Rule } from './flow.ts';
import { each } from '../../util/words.ts';

/** Operators of the standard set that channels are traced through (https://onnx.ai/onnx/operators/). */
export const rules: Readonly<Record<string, Rule>> = {
  Conv: conv,
  ConvTranspose: convTranspose,
  ...each(batchNorm, 'BatchNormalization InstanceNormalization'),
  Gemm: gemm,
  MatMul: matMul,
  ...each(recurrent, 'LSTM GRU RNN'),
  ...each(perChannel, 'MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool GridSample'),
  ...each(
    unary,
    'Relu LeakyRelu Elu Selu Celu ThresholdedRelu Sigmoid HardSigmoid HardSwish Tanh Softplus Softsign Mish Gelu Swish Erf ' +
      'Abs Neg Exp Log Sqrt Reciprocal Sign Floor Ceil Round Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Not ' +
      'IsNaN IsInf Identity Dropout Cast Clip Shrink BitwiseNot',
  ),
  ...each(
    pointwise,
    'Add Sub Mul Div Pow Max Min Mean Sum PRelu Where And Or Xor Equal Less LessOrEqual Greater GreaterOrEqual Mod BitShift',
  ),
  ...each(quantization, 'QuantizeLinear DequantizeLinear'),
  Transpose: transpose,
  ...each(reshape, 'Reshape Flatten Squeeze Unsqueeze'),
  Expand: expand,
  Tile: tile,
  Concat: concat,
  Split: split,
  Slice: slice,
  Pad: pad,
  Gather: gather,
  DepthToSpace: depthToSpace,
  SpaceToDepth: spaceToDepth,
  ...each(resize, 'Resize Upsample'),
  ...each(
    reduce,
    'ReduceSum ReduceSumSquare ReduceL1 ReduceL2 ReduceMean ReduceMax ReduceMin ReduceProd ReduceLogSum ReduceLogSumExp',
  ),
  ...each(softmax, 'Softmax LogSoftmax Hardmax'),
  ...each(argument, 'ArgMax ArgMin'),
  ...each(acrossChannels, 'LRN GroupNormalization'),
  LpNormalization: lpNormalization,
  ...each(layerNorm, 'LayerNormalization RMSNormalization SimplifiedLayerNormalization'),
};
