import fc from '../helpers/fc.ts';
import { int64, float32, worstDifference, type Case } from './differences.ts';

// Both are linear in each operand: differences over a step of 1 have only the rounding of float32.
const exact = 2e-5;

interface Conv {
  readonly groups: number;
  readonly inner: number;
  readonly outer: number;
  readonly axes: readonly {
    readonly size: number;
    readonly kernel: number;
    readonly stride: number;
    readonly dilation: number;
    readonly begin: number;
    readonly end: number;
  }[];
  readonly bias: boolean;
}

const axis = fc
  .record({
    kernel: fc.integer({ min: 1, max: 5 }),
    stride: fc.integer({ min: 1, max: 3 }),
    dilation: fc.integer({ min: 1, max: 2 }),
    begin: fc.integer({ min: 0, max: 2 }),
    end: fc.integer({ min: 0, max: 2 }),
    more: fc.integer({ min: 0, max: 3 }),
  })
  .map(({ more, ...one }) => ({
    ...one,
    size: Math.max(1, (one.kernel - 1) * one.dilation + 1 - one.begin - one.end) + more,
  }));
const conv: fc.Arbitrary<Conv> = fc.record({
  groups: fc.integer({ min: 1, max: 3 }),
  inner: fc.integer({ min: 1, max: 2 }),
  outer: fc.integer({ min: 1, max: 2 }),
  axes: fc.array(axis, { minLength: 1, maxLength: 2 }),
  bias: fc.boolean(),
});

const attributesOf = ({ groups, axes }: Conv) => ({
  group: groups,
  strides: axes.map(({ stride }) => stride),
  dilations: axes.map(({ dilation }) => dilation),
  pads: [...axes.map(({ begin }) => begin), ...axes.map(({ end }) => end)],
});

describe('the gradients of convolutions against central differences', () => {
  it('of Conv, any kernel, stride, dilation, padding and groups', async () => {
    await fc.assert(
      fc.asyncProperty(conv, async (one) => {
        const { groups, inner, outer, axes, bias } = one;
        const x = [2, groups * inner, ...axes.map(({ size }) => size)];
        const weight = [groups * outer, inner, ...axes.map(({ kernel }) => kernel)];
        const operands = [x, weight, ...(bias ? [[groups * outer]] : [])];
        expect(
          await worstDifference({ op: 'Conv', attributes: attributesOf(one), operands, linear: true }),
        ).toBeLessThan(exact);
      }),
      { numRuns: 40, seed: 7 },
    );
  }, 60_000);

  it('of ConvTranspose', async () => {
    await fc.assert(
      fc.asyncProperty(conv, fc.integer({ min: 0, max: 1 }), async (one, extra) => {
        const { groups, inner, outer, axes, bias } = one;
        // The result must not be cut off whole, and output_padding is below the stride.
        const sizes = axes.map(({ size }) => Math.min(4, size));
        const left = axes.map(
          ({ kernel, stride, dilation, begin, end }, i) =>
            (sizes[i]! - 1) * stride + (kernel - 1) * dilation + 1 - begin - end,
        );
        fc.pre(left.every((size) => size > 0));
        const output_padding = axes.map(({ stride }) => (extra < stride ? extra : 0));
        const operands = [
          [2, groups * inner, ...sizes],
          [groups * inner, outer, ...axes.map(({ kernel }) => kernel)],
          ...(bias ? [[groups * outer]] : []),
        ];
        expect(
          await worstDifference({
            op: 'ConvTranspose',
            attributes: { ...attributesOf(one), output_padding },
            operands,
            linear: true,
          }),
        ).toBeLessThan(exact);
      }),
      { numRuns: 25, seed: 8 },
    );
  }, 60_000);

  it.each<[string, Case]>([
    [
      'SAME_UPPER',
      {
        op: 'Conv',
        attributes: { auto_pad: 'SAME_UPPER', strides: [2, 2] },
        operands: [
          [1, 2, 5, 6],
          [3, 2, 3, 3],
        ],
        linear: true,
      },
    ],
    [
      'SAME_LOWER',
      {
        op: 'Conv',
        attributes: { auto_pad: 'SAME_LOWER', strides: [2, 1] },
        operands: [
          [1, 2, 5, 6],
          [3, 2, 2, 4],
        ],
        linear: true,
      },
    ],
    [
      'VALID',
      {
        op: 'Conv',
        attributes: { auto_pad: 'VALID' },
        operands: [
          [1, 2, 5, 6],
          [3, 2, 3, 3],
        ],
        linear: true,
      },
    ],
    [
      'depthwise, a multiplier',
      {
        op: 'Conv',
        attributes: { group: 2, pads: [1, 1, 1, 1] },
        operands: [
          [2, 2, 4, 4],
          [4, 1, 3, 3],
        ],
        linear: true,
      },
    ],
    [
      'depthwise with strides',
      {
        op: 'Conv',
        attributes: { group: 3, pads: [1, 1, 1, 1], strides: [2, 2] },
        operands: [[2, 3, 5, 6], [3, 1, 3, 3], [3]],
        linear: true,
      },
    ],
    [
      'three dimensions',
      {
        op: 'Conv',
        attributes: { pads: [1, 0, 1, 0, 1, 1], strides: [1, 2, 1] },
        operands: [
          [1, 2, 3, 4, 3],
          [2, 2, 2, 2, 3],
        ],
        linear: true,
      },
    ],
    [
      'a transposed one of SAME_UPPER',
      {
        op: 'ConvTranspose',
        attributes: { auto_pad: 'SAME_UPPER', strides: [2, 2] },
        operands: [
          [1, 2, 3, 3],
          [2, 2, 3, 3],
        ],
        linear: true,
      },
    ],
  ])('%s', async (_, one) => {
    expect(await worstDifference(one)).toBeLessThan(exact);
  });
});

/** All different by more than the steps of differences. */
const apart = (_: number, i: number): number => ((i * 37) % 101) / 9;
const pool = (op: string, attributes: Case['attributes'], operands: Case['operands'], more: Partial<Case> = {}): Case => ({ op, attributes: attributes!, operands, draw: apart, ...more }); // prettier-ignore

const maxPools: readonly (readonly [string, Case])[] = [
  ['MaxPool', pool('MaxPool', { kernel_shape: [2, 2], strides: [2, 2] }, [[1, 2, 4, 4]])],
  [
    'MaxPool, overlapping, padded, dilated',
    pool('MaxPool', { kernel_shape: [3, 2], strides: [1, 2], pads: [1, 0, 1, 1], dilations: [1, 2] }, [[1, 2, 4, 6]]),
  ],
  ['MaxPool, rounded up', pool('MaxPool', { kernel_shape: [2, 2], strides: [2, 2], ceil_mode: 1 }, [[1, 1, 5, 5]])],
  ['MaxPool of one axis', pool('MaxPool', { kernel_shape: [3], strides: [2] }, [[2, 2, 7]])],
];

describe('the gradients of pooling and resizing', () => {
  it.each<readonly [string, Case]>([
    ...maxPools,
    ...maxPools.map(([name, one]): [string, Case] => [`${name}, on WebGPU`, { ...one, target: 'webgpu' }]),
    ['AveragePool', pool('AveragePool', { kernel_shape: [2, 2], strides: [2, 2] }, [[1, 2, 4, 5]], { linear: true })],
    [
      'AveragePool, padded',
      pool('AveragePool', { kernel_shape: [3, 3], strides: [2, 1], pads: [1, 1, 1, 1] }, [[1, 2, 5, 4]], {
        linear: true,
      }),
    ],
    [
      'AveragePool, padding counted',
      pool('AveragePool', { kernel_shape: [3, 3], pads: [1, 1, 1, 1], count_include_pad: 1 }, [[1, 2, 5, 4]], {
        linear: true,
      }),
    ],
    [
      'AveragePool, rounded up',
      pool('AveragePool', { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 }, [[1, 1, 6, 6]], { linear: true }),
    ],
    [
      'AveragePool, rounded up, padding counted',
      pool(
        'AveragePool',
        { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1], ceil_mode: 1, count_include_pad: 1 },
        [[1, 1, 6, 6]],
        { linear: true },
      ),
    ],
    [
      'AveragePool of SAME_UPPER',
      pool('AveragePool', { kernel_shape: [3, 3], strides: [2, 2], auto_pad: 'SAME_UPPER' }, [[1, 1, 6, 5]], {
        linear: true,
      }),
    ],
    ['GlobalAveragePool', pool('GlobalAveragePool', {}, [[2, 2, 3, 2]], { linear: true })],
    ['GlobalMaxPool', pool('GlobalMaxPool', {}, [[1, 2, 3, 2]])],
    ...['half_pixel', 'asymmetric', 'align_corners', 'pytorch_half_pixel'].flatMap((coordinates): [string, Case][] =>
      ['nearest', 'linear'].map((mode) => [
        `Resize, ${mode}, ${coordinates}`,
        pool(
          'Resize',
          { mode, coordinate_transformation_mode: coordinates },
          [[1, 2, 3, 4], '', '', int64([1, 2, 7, 6])],
          { linear: true },
        ),
      ]),
    ),
    ...['floor', 'ceil', 'round_prefer_ceil'].map((nearest): [string, Case] => [
      `Resize, nearest by ${nearest}`,
      pool(
        'Resize',
        { mode: 'nearest', nearest_mode: nearest, coordinate_transformation_mode: 'asymmetric' },
        [[1, 1, 4, 4], '', float32([1, 1, 1.5, 0.5])],
        { linear: true },
      ),
    ]),
  ])('%s', async (_, one) => {
    expect(await worstDifference(one)).toBeLessThan(one.linear === true ? exact : 2e-3);
  });
});
