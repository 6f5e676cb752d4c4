import type { Feeds, Tensor } from '../../src/data/types.ts';
import type { AttributeValue } from '../../src/graph/attribute.ts';
import type { DType, TypedArray } from '../../src/graph/dtype.ts';
import { floats } from '../helpers/context.ts';
import { noise } from '../helpers/models.ts';

/** Type, shape and elements of a constant input. */
export type Constant = [DType, number[], TypedArray];

const size = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1);
/** Noise of that shape. */
export const x = (...dims: number[]) => floats(noise(3, size(dims), 2), dims);
const int = (...values: number[]): Tensor => ({
  type: 'int64',
  dims: [values.length],
  data: BigInt64Array.from(values, BigInt),
});
const matrix = (rows: number, columns: number, values: number[]): Constant => [
  'float32',
  [rows, columns],
  Float32Array.from(values),
];
const long = (...values: number[]): Constant => ['int64', [values.length], int(...values).data as TypedArray];
/** A float32 constant vector. */
export const float = (...values: number[]): Constant => ['float32', [values.length], Float32Array.from(values)];

/** One node of an old operator set to be carried to newer ones. */
export interface Case {
  readonly op: string;
  readonly opset: number;
  readonly feeds: Feeds;
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  /** Further inputs, constant. */
  readonly constants?: Readonly<Record<string, Constant>>;
  readonly outputs?: readonly (readonly [string, DType])[];
  readonly declare?: boolean;
  /** Versions to go to; [13, 18, 21, 25] unless said. */
  readonly to?: number[];
}

const bn = { s: float(1, 2, 3), b: float(0, 1, -1), m: float(0.1, 0, 1), v: float(1, 2, 0.5) };
const f32 = (...dims: number[]): Constant => ['float32', dims, noise(5, size(dims))];
const reduces = 'L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare'.split(' ');
const positive = (t: Tensor) => ({ ...t, data: (t.data as Float32Array).map(Math.abs) });

/** One or more per adapter, and operators whose changes are compatible. */
export const cases: (Case & { readonly about: string })[] = [
  {
    about: 'both bounds',
    op: 'Clip',
    opset: 10,
    feeds: { x: x(20) },
    attributes: { min: { float: -0.5 }, max: { float: 1 } },
  },
  { about: 'a lower bound', op: 'Clip', opset: 7, feeds: { x: x(20) }, attributes: { min: { float: 0 } } },
  { about: 'an upper bound', op: 'Clip', opset: 7, feeds: { x: x(20) }, attributes: { max: { float: 0.25 } } },
  { about: 'no bound', op: 'Clip', opset: 10, feeds: { x: x(20) } },
  {
    about: 'float16',
    op: 'Clip',
    opset: 10,
    feeds: { x: { type: 'float16', dims: [3], data: Uint16Array.of(0xbc00, 0x3c00, 0x4900) } },
    attributes: { min: { float: 0.1 }, max: { float: 2 } },
    outputs: [['y', 'float16']],
  },
  { about: 'zeros', op: 'Pad', opset: 10, feeds: { x: x(2, 3) }, attributes: { pads: [0, 1, 1, 2] } },
  {
    about: 'a value',
    op: 'Pad',
    opset: 7,
    feeds: { x: x(2, 3) },
    attributes: { pads: [0, 1, 1, 2], value: { float: 7 } },
  },
  {
    about: 'reflect',
    op: 'Pad',
    opset: 10,
    feeds: { x: x(3, 4) },
    attributes: { pads: [1, 2, 0, 1], mode: 'reflect' },
  },
  {
    about: 'edge and cropping',
    op: 'Pad',
    opset: 10,
    feeds: { x: x(3, 4) },
    attributes: { pads: [1, -1, 0, 1], mode: 'edge' },
  },
  {
    about: 'to the end (INT64_MAX) and from the end',
    op: 'Slice',
    opset: 9,
    feeds: { x: x(4, 5, 6) },
    attributes: { starts: [1, -2], axes: [0, 2], ends: [2, 3] },
  },
  {
    about: 'without axes',
    op: 'Slice',
    opset: 9,
    feeds: { x: x(4, 5, 6) },
    attributes: { starts: [1, 0], ends: [3, -1] },
  },
  { about: 'axes', op: 'Squeeze', opset: 11, feeds: { x: x(1, 3, 1) }, attributes: { axes: [0] } },
  { about: 'all', op: 'Squeeze', opset: 11, feeds: { x: x(1, 3, 1) } },
  { about: 'axes', op: 'Unsqueeze', opset: 9, feeds: { x: x(3, 2) }, attributes: { axes: [0, 3] } },
  ...reduces.flatMap((name) => [
    {
      about: 'axes',
      op: `Reduce${name}`,
      opset: 11,
      feeds: { x: positive(x(2, 3, 4)) },
      attributes: { axes: [-1, 1], keepdims: 0 },
    },
    { about: 'all', op: `Reduce${name}`, opset: 9, feeds: { x: positive(x(2, 3, 4)) } },
  ]),
  {
    about: 'lengths',
    op: 'Split',
    opset: 11,
    feeds: { x: x(2, 6) },
    attributes: { axis: 1, split: [1, 5] },
    outputs: [
      ['y', 'float32'],
      ['z', 'float32'],
    ],
  },
  {
    about: 'equal parts',
    op: 'Split',
    opset: 11,
    feeds: { x: x(6, 2) },
    outputs: [
      ['y', 'float32'],
      ['z', 'float32'],
      ['w', 'float32'],
    ],
  },
  { about: 'ratio', op: 'Dropout', opset: 7, feeds: { x: x(5) }, attributes: { ratio: { float: 0.3 } } },
  {
    about: 'k',
    op: 'TopK',
    opset: 9,
    feeds: { x: x(3, 8) },
    attributes: { k: 2, axis: -1 },
    outputs: [
      ['y', 'float32'],
      ['i', 'int64'],
    ],
  },
  {
    about: 'nearest',
    op: 'Upsample',
    opset: 7,
    feeds: { x: x(1, 2, 3, 4) },
    attributes: { scales: { floats: [1, 1, 2, 2.5] } },
  },
  {
    about: 'linear',
    op: 'Upsample',
    opset: 8,
    feeds: { x: x(1, 2, 3, 4) },
    attributes: { mode: 'linear', scales: { floats: [1, 1, 2, 2] } },
  },
  {
    about: 'scales as an input',
    op: 'Upsample',
    opset: 9,
    feeds: { x: x(1, 1, 3, 4) },
    constants: { s: float(1, 1, 3, 1.4) },
  },
  { about: 'enlarging', op: 'Resize', opset: 10, feeds: { x: x(1, 1, 3, 4) }, constants: { s: float(1, 1, 2.3, 1.4) } },
  {
    about: 'shrinking',
    op: 'Resize',
    opset: 10,
    feeds: { x: x(1, 1, 7, 9) },
    constants: { s: float(1, 1, 0.6, 0.45) },
  },
  {
    about: 'linear',
    op: 'Resize',
    opset: 10,
    feeds: { x: x(1, 1, 7, 9) },
    constants: { s: float(1, 1, 0.6, 1.7) },
    attributes: { mode: 'linear' },
  },
  {
    about: 'sizes with empty roi and scales',
    op: 'Resize',
    opset: 11,
    feeds: { x: x(1, 1, 5, 4) },
    constants: { roi: float(), scales: float(), sizes: long(1, 1, 7, 6) },
    attributes: { mode: 'linear', coordinate_transformation_mode: 'align_corners' },
  },
  ...['floor', 'round_prefer_floor'].map((nearest_mode) => ({
    about: `tf_half_pixel_for_nn, ${nearest_mode}`,
    op: 'Resize',
    opset: 11,
    feeds: { x: x(1, 1, 5, 8) },
    constants: { roi: float(), scales: float(1, 1, 1.75, 0.625) },
    attributes: { nearest_mode, coordinate_transformation_mode: 'tf_half_pixel_for_nn' },
  })),
  ...['Softmax', 'LogSoftmax', 'Hardmax'].flatMap((op) => [
    { about: 'default axis, rank 4', op, opset: 11, feeds: { x: x(2, 3, 4, 5) } },
    { about: 'axis 2 of 4', op, opset: 9, feeds: { x: x(2, 3, 4, 5) }, attributes: { axis: 2 } },
    { about: 'axis -2', op, opset: 11, feeds: { x: x(2, 3, 4) }, attributes: { axis: -2 } },
    { about: 'axis 0', op, opset: 11, feeds: { x: x(2, 3) }, attributes: { axis: 0 } },
    { about: 'the last axis', op, opset: 11, feeds: { x: x(2, 3) } },
    { about: 'ones behind the axis', op, opset: 11, feeds: { x: x(2, 5, 1, 1) } },
    { about: 'unknown rank', op, opset: 11, feeds: { x: x(2, 3) }, declare: false },
  ]),
  {
    about: 'spatial',
    op: 'BatchNormalization',
    opset: 7,
    feeds: { x: x(2, 3, 4) },
    constants: bn,
    attributes: { spatial: 1 },
  },
  { about: 'inference', op: 'BatchNormalization', opset: 9, feeds: { x: x(2, 3, 4) }, constants: bn },
  {
    about: 'renamed',
    op: 'Scatter',
    opset: 9,
    feeds: { x: x(3, 3) },
    constants: { i: ['int64', [1, 3], BigInt64Array.of(2n, 0n, 1n)], u: f32(1, 3) },
    attributes: { axis: 0 },
  },
  ...['avg', 'max'].map((mode) => ({
    about: mode,
    op: 'RoiAlign',
    opset: 11,
    feeds: { x: x(1, 2, 8, 8) },
    constants: {
      rois: matrix(2, 4, [0, 0, 6, 6, 1, 2, 7, 5]),
      batch: long(0, 0),
    },
    to: [13, 18, 21],
    attributes: { mode, output_height: 3, output_width: 2, sampling_ratio: 1 },
  })),
  ...['bilinear', 'nearest', 'bicubic'].map((mode) => ({
    about: mode,
    op: 'GridSample',
    opset: 16,
    feeds: { x: x(1, 2, 4, 4) },
    constants: { grid: f32(1, 3, 3, 2) },
    attributes: { mode },
  })),
  { about: 'default axis', op: 'DFT', opset: 17, feeds: { x: x(2, 4, 3, 1) } },
  { about: 'axis 2', op: 'DFT', opset: 17, feeds: { x: x(2, 4, 3, 1) }, attributes: { axis: 2 } },
  {
    about: 'by group',
    op: 'GroupNormalization',
    opset: 18,
    feeds: { x: x(2, 6, 4) },
    constants: { scale: float(2, 3), bias: float(-1, 1) },
    attributes: { num_groups: 2 },
  },
  {
    about: 'not negative',
    op: 'OneHot',
    opset: 9,
    feeds: { x: int(0, 2, 5) },
    constants: { depth: ['int64', [], BigInt64Array.of(4n)], values: float(-1, 1) },
  },
  {
    about: 'one direction',
    op: 'GRU',
    opset: 7,
    feeds: { x: x(3, 2, 4) },
    constants: { w: f32(1, 15, 4), r: f32(1, 15, 5) },
    attributes: { hidden_size: 5, linear_before_reset: 1 },
  },
  {
    about: 'two directions',
    op: 'LSTM',
    opset: 7,
    feeds: { x: x(3, 2, 4) },
    constants: { w: f32(2, 20, 4), r: f32(2, 20, 5) },
    attributes: { hidden_size: 5, direction: 'bidirectional' },
  },
  {
    about: 'indices',
    op: 'MaxPool',
    opset: 8,
    feeds: { x: x(1, 2, 7, 7) },
    attributes: { kernel_shape: [3, 3], strides: [2, 2] },
  },
  {
    about: 'ceil_mode',
    op: 'MaxPool',
    opset: 10,
    feeds: { x: x(1, 2, 8, 8) },
    attributes: { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 },
  },
  {
    about: 'blocks',
    op: 'DepthToSpace',
    opset: 9,
    feeds: { x: x(1, 8, 2, 3) },
    attributes: { blocksize: 2 },
  },
];
