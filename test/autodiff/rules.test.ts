import { float32, int64, bools, worstDifference, type Case } from './differences.ts';

// onnxruntime computes in float32: differences over a step of 1/32 have errors of 1e-5 of the numbers that are added up.
const smooth = 2e-3;
const exact = 1e-5;

/** At least so far from 0, where Relu and its like have a kink that differences would step over. */
const away = (value: number): number => value + Math.sign(value || 1) * 0.1;
const positive = (value: number): number => Math.abs(value) + 0.5;
/** All different by more than the steps of differences, and none near 0. */
const apart = (_: number, i: number, operand: number): number => (((i * 7 + 3) % 24) - 11.4) / 6 + operand / 18;
const small = [2, 3, 4];

const pointwise = 'Sigmoid Tanh Softplus Softsign Mish HardSwish Erf Exp Sin Cos Neg Identity'.split(' ');
const kinked = 'Relu LeakyRelu Elu Selu Celu Abs HardSigmoid'.split(' ');

const cases: readonly (readonly [string, Case])[] = [
  ...pointwise.map((op): [string, Case] => [op, { op, operands: [small] }]),
  ...kinked.map((op): [string, Case] => [op, { op, operands: [small], draw: away }]),
  ['Sqrt', { op: 'Sqrt', operands: [small], draw: positive }],
  ['Log', { op: 'Log', operands: [small], draw: positive }],
  ['Reciprocal', { op: 'Reciprocal', operands: [small], draw: positive }],
  ['LeakyRelu, steep', { op: 'LeakyRelu', attributes: { alpha: { float: 0.3 } }, operands: [small], draw: away }],
  ['Elu, alpha', { op: 'Elu', attributes: { alpha: { float: 0.4 } }, operands: [small], draw: away }],
  ['Celu, alpha', { op: 'Celu', attributes: { alpha: { float: 0.7 } }, operands: [small], draw: away }],
  ['HardSigmoid, alpha', { op: 'HardSigmoid', attributes: { alpha: { float: 0.4 }, beta: { float: 0.6 } }, operands: [small], draw: (v) => v / 2 }], // prettier-ignore
  ['ThresholdedRelu', { op: 'ThresholdedRelu', attributes: { alpha: { float: 0.5 } }, operands: [small], draw: (v) => (Math.abs(v - 0.5) < 0.1 ? v + 0.3 : v) }], // prettier-ignore
  ['Gelu', { op: 'Gelu', operands: [small], opset: 20 }],
  ['Gelu by tanh', { op: 'Gelu', attributes: { approximate: 'tanh' }, operands: [small], opset: 20 }],
  ['Gelu of com.microsoft', { op: 'Gelu', domain: 'com.microsoft', operands: [small] }],
  ['QuickGelu', { op: 'QuickGelu', domain: 'com.microsoft', operands: [small] }],
  ['PRelu', { op: 'PRelu', operands: [small, [3, 1]], draw: away }],
  ['Clip', { op: 'Clip', operands: [small, float32([-0.5], []), float32([0.6], [])], draw: (v) => (Math.min(Math.abs(v + 0.5), Math.abs(v - 0.6)) < 0.06 ? 0 : v) }], // prettier-ignore
  ['Clip from 0 to 6', { op: 'Clip', operands: [small, float32([0], []), float32([6], [])], draw: (v) => away(v) * 8 + (Math.abs(v * 8 - 6) < 1 ? 2 : 0) }], // prettier-ignore
  [
    'Clip below',
    { op: 'Clip', operands: [small, float32([-0.3], [])], draw: (v) => (Math.abs(v + 0.3) < 0.06 ? 0 : v) },
  ],
  ['Clip above', { op: 'Clip', operands: [small, '', float32([0.3], [])], draw: (v) => (Math.abs(v - 0.3) < 0.06 ? 0 : v) }], // prettier-ignore
  ['Clip without bounds', { op: 'Clip', operands: [small] }],
  ...['Add', 'Sub', 'Mul'].flatMap((op): [string, Case][] => [
    [op, { op, operands: [small, small], linear: true }],
    [
      `${op}, broadcast`,
      {
        op,
        operands: [
          [3, 1],
          [2, 1, 4],
        ],
        linear: true,
      },
    ],
    [`${op}, scalar`, { op, operands: [small, []], linear: true }],
  ]),
  [
    'Div',
    {
      op: 'Div',
      operands: [
        [2, 1, 4],
        [3, 1],
      ],
      draw: positive,
    },
  ],
  ['Pow 2', { op: 'Pow', operands: [small, float32([2], [])] }],
  ['Pow 3', { op: 'Pow', operands: [small, float32([3], [])], draw: away }],
  ['Pow -0.5', { op: 'Pow', operands: [small, float32([-0.5], [])], draw: positive }],
  ['Sum of three', { op: 'Sum', operands: [small, [4], [3, 1]], linear: true }],
  ['Mean of three', { op: 'Mean', operands: [small, [4], [3, 1]], linear: true }],
  ['Max', { op: 'Max', operands: [small, [3, 1]], draw: apart }],
  ['Min of three', { op: 'Min', operands: [small, small, [4]], draw: apart }],
  ['Where', { op: 'Where', operands: [bools([true, false, false, true]), small, [3, 1]], linear: true }],
  [
    'MatMul',
    {
      op: 'MatMul',
      operands: [
        [3, 4],
        [4, 2],
      ],
      linear: true,
    },
  ],
  [
    'MatMul, a stack times a matrix',
    {
      op: 'MatMul',
      operands: [
        [2, 3, 4],
        [4, 2],
      ],
      linear: true,
    },
  ],
  [
    'MatMul, a matrix times a stack',
    {
      op: 'MatMul',
      operands: [
        [3, 4],
        [2, 4, 2],
      ],
      linear: true,
    },
  ],
  [
    'MatMul, broadcast stacks',
    {
      op: 'MatMul',
      operands: [
        [2, 1, 3, 4],
        [3, 4, 2],
      ],
      linear: true,
    },
  ],
  ['MatMul, a vector before', { op: 'MatMul', operands: [[4], [2, 4, 3]], linear: true }],
  ['MatMul, a vector behind', { op: 'MatMul', operands: [[2, 3, 4], [4]], linear: true }],
  ['MatMul, two vectors', { op: 'MatMul', operands: [[4], [4]], linear: true }],
  ...[0, 1].flatMap((transA) =>
    [0, 1].map((transB): [string, Case] => [
      `Gemm ${transA}${transB}`,
      { op: 'Gemm', attributes: { transA, transB, alpha: { float: 0.5 }, beta: { float: 2 } }, operands: [transA ? [4, 3] : [3, 4], transB ? [2, 4] : [4, 2], [2]], linear: true }, // prettier-ignore
    ]),
  ),
  [
    'Gemm without C',
    {
      op: 'Gemm',
      operands: [
        [3, 4],
        [4, 2],
      ],
      linear: true,
    },
  ],
  [
    'Gemm, C a column',
    {
      op: 'Gemm',
      operands: [
        [3, 4],
        [4, 2],
        [3, 1],
      ],
      linear: true,
    },
  ],
  ...['ReduceSum', 'ReduceMean'].flatMap((op): [string, Case][] => [
    [`${op}, an axis`, { op, operands: [small, int64([-2])], linear: true }],
    [`${op}, axes dropped`, { op, attributes: { keepdims: 0 }, operands: [small, int64([0, 2])], linear: true }],
    [`${op}, all`, { op, attributes: { keepdims: 0 }, operands: [small], linear: true }],
    [`${op}, none`, { op, attributes: { noop_with_empty_axes: 1 }, operands: [small], linear: true }],
  ]),
  ...['ReduceL1', 'ReduceL2', 'ReduceLogSumExp', 'ReduceSumSquare', 'ReduceMax', 'ReduceMin'].map(
    (op): [string, Case] => [op, { op, attributes: { keepdims: 0 }, operands: [small, int64([1])], draw: apart }],
  ),
  ['Softmax', { op: 'Softmax', operands: [small] }],
  ['Softmax, axis 1', { op: 'Softmax', attributes: { axis: 1 }, operands: [small] }],
  ['LogSoftmax', { op: 'LogSoftmax', attributes: { axis: -2 }, operands: [small] }],
  ['LayerNormalization', { op: 'LayerNormalization', operands: [[3, 5], [5], [5]] }],
  [
    'LayerNormalization, two axes, no shift',
    {
      op: 'LayerNormalization',
      attributes: { axis: 1 },
      operands: [
        [2, 3, 4],
        [3, 4],
      ],
    },
  ],
  ['RMSNormalization', { op: 'SimplifiedLayerNormalization', operands: [[3, 5], [5]] }],
  ['InstanceNormalization', { op: 'InstanceNormalization', operands: [[2, 3, 2, 4], [3], [3]] }],
  ['BatchNormalization', { op: 'BatchNormalization', operands: [[2, 3, 2, 2], [3], [3], float32([0.1, -0.2, 0.3]), float32([1, 0.5, 2])] }], // prettier-ignore
  ['BatchNormalization of rank 2', { op: 'BatchNormalization', operands: [[4, 3], [3], [3], float32([0.1, -0.2, 0.3]), float32([1, 0.5, 2])] }], // prettier-ignore
  ['Reshape', { op: 'Reshape', operands: [small, int64([4, -1])], linear: true }],
  ['Flatten', { op: 'Flatten', attributes: { axis: 2 }, operands: [small], linear: true }],
  ['Squeeze', { op: 'Squeeze', operands: [[2, 1, 3], int64([1])], linear: true }],
  ['Unsqueeze', { op: 'Unsqueeze', operands: [small, int64([-1, 0])], linear: true }],
  ['Transpose', { op: 'Transpose', attributes: { perm: [2, 0, 1] }, operands: [small], linear: true }],
  ['Transpose, turned round', { op: 'Transpose', operands: [small], linear: true }],
  ['Expand', { op: 'Expand', operands: [[3, 1], int64([2, 1, 4])], linear: true }],
  ['Tile', { op: 'Tile', operands: [[2, 3], int64([3, 2])], linear: true }],
  [
    'Concat',
    {
      op: 'Concat',
      attributes: { axis: -1 },
      operands: [
        [2, 3],
        [2, 1],
        [2, 4],
      ],
      linear: true,
    },
  ],
  ['Split', { op: 'Split', attributes: { axis: 1 }, operands: [[2, 6], int64([1, 3, 2])], outputs: 3, linear: true }],
  ['Split of which one part is read', { op: 'Split', attributes: { axis: 1 }, operands: [[2, 6], int64([1, 3, 2])], outputs: 3, read: [1], linear: true }], // prettier-ignore
  ['Pad', { op: 'Pad', operands: [[2, 3], int64([1, 0, 0, 2])], linear: true }],
  ['Pad that cuts off', { op: 'Pad', operands: [[3, 4], int64([1, -1, 0, 2]), float32([5], [])], linear: true }],
  ['Pad of some axes', { op: 'Pad', operands: [[2, 3, 2], int64([1, 2]), '', int64([-1])], linear: true }],
  ['Dropout of inference', { op: 'Dropout', operands: [small], linear: true }],
  ['CumSum', { op: 'CumSum', operands: [small, int64([1], [])], linear: true }],
  ['CumSum, exclusive and reverse', { op: 'CumSum', attributes: { exclusive: 1, reverse: 1 }, operands: [small, int64([-1], [])], linear: true }], // prettier-ignore
  ...['DCR', 'CRD'].map((mode): [string, Case] => [`DepthToSpace ${mode}`, { op: 'DepthToSpace', attributes: { blocksize: 2, mode }, operands: [[1, 8, 2, 3]], linear: true }]), // prettier-ignore
  ['SpaceToDepth', { op: 'SpaceToDepth', attributes: { blocksize: 2 }, operands: [[1, 2, 4, 6]], linear: true }],
  ['Slice', { op: 'Slice', operands: [[4, 5], int64([1, -4]), int64([9, -1]), int64([0, 1])], linear: true }],
  ['Slice with steps', { op: 'Slice', operands: [[5, 7], int64([1, 0]), int64([5, 7]), int64([0, 1]), int64([2, 3])], linear: true }], // prettier-ignore
  ['Slice of images with steps', { op: 'Slice', operands: [[2, 2, 5, 6], int64([1, 0]), int64([5, 6]), int64([2, 3]), int64([2, 2])], linear: true }], // prettier-ignore
  ['Slice of images with a step', { op: 'Slice', operands: [[1, 2, 4, 7], int64([1]), int64([7]), int64([-1]), int64([3])], linear: true }], // prettier-ignore
  [
    'Slice backwards',
    { op: 'Slice', operands: [[6], int64([-1]), int64([-100]), int64([0]), int64([-2])], linear: true },
  ],
  ['Gather', { op: 'Gather', operands: [[5, 3], int64([4, 0, 4, -1])], linear: true }],
  ['Gather of a table of indices', { op: 'Gather', attributes: { axis: 1 }, operands: [[2, 4, 3], int64([3, 0, 0, 1], [2, 2])], linear: true }], // prettier-ignore
  ['Gather of one', { op: 'Gather', attributes: { axis: -1 }, operands: [[2, 4], int64([2], [])], linear: true }],
  ['GatherElements', { op: 'GatherElements', attributes: { axis: 1 }, operands: [[2, 3], int64([0, 0, 2, 1], [2, 2])], linear: true }], // prettier-ignore
  ['GatherND', { op: 'GatherND', operands: [[3, 2, 2], int64([0, 1, 2, 0, 0, 1], [3, 2])], linear: true }],
];

describe('gradient rules against central differences of onnxruntime', () => {
  it.each(cases)('%s', async (_, one) => {
    expect(await worstDifference(one)).toBeLessThan(one.linear === true ? exact : smooth);
  });
});
