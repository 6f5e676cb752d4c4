import { cost } from '../../src/analyze/cost.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { DType } from '../../src/graph/dtype.ts';
import type { Model } from '../../src/graph/model.ts';
import { elementCount, makeTensor } from '../../src/graph/tensor.ts';
import { inferShapes } from '../../src/runtime/shapes.ts';
import { batchOf, float, ifModel } from '../runtime/models.ts';
import { builder, image, row } from './qdq.ts';

const ones = (name: string, dims: number[]) =>
  makeTensor(name, 'float32', dims, new Float32Array(elementCount(dims)).fill(1));

/** A model of one node with inputs x (and more), weights by name → dims, costed on `samples` samples. */
async function costOf(
  op: string,
  x: number[],
  weights: Record<string, number[]>,
  attributes: Record<string, number | number[] | string> = {},
) {
  const model = makeModel({
    inputs: [
      makeValue(
        'x',
        'float32',
        x.map((_, i) => `d${i}`),
      ),
    ],
    outputs: [makeValue('y', 'float32')],
    nodes: [makeNode(op, ['x', ...Object.keys(weights)], ['y'], attributes)],
    initializers: Object.entries(weights).map(([name, dims]) => ones(name, dims)),
  });
  return costAt(model, x);
}

async function costAt(model: Model, x: number[]) {
  const batch = batchOf({ x: float(x, new Float32Array(elementCount(x)).fill(0.5)) }, x[0] ?? 1);
  return cost(model, await inferShapes(model, batch));
}

describe('cost: multiply-accumulates by hand', () => {
  const cases: [
    string,
    string,
    number[],
    Record<string, number[]>,
    Record<string, number | number[] | string>,
    number,
    number,
  ][] = [
    // 8·8 positions · 16 filters · 3 channels · 3·3 taps.
    [
      'Conv, same padding',
      'Conv',
      [1, 3, 8, 8],
      { w: [16, 3, 3, 3], b: [16] },
      { pads: [1, 1, 1, 1] },
      64 * 16 * 27,
      448,
    ],
    // Stride 2 quarters the positions; groups divide the channels.
    [
      'Conv, grouped and strided',
      'Conv',
      [1, 4, 8, 8],
      { w: [8, 2, 3, 3] },
      { pads: [1, 1, 1, 1], strides: [2, 2], group: 2 },
      16 * 8 * 18,
      144,
    ],
    ['Conv, depthwise, two samples', 'Conv', [2, 4, 5, 5], { w: [4, 1, 3, 3] }, { group: 4 }, 2 * 9 * 4 * 9, 36],
    // Every one of 4·5·5 inputs meets 3 filters of 2·2.
    ['ConvTranspose', 'ConvTranspose', [1, 4, 5, 5], { w: [4, 3, 2, 2] }, { strides: [2, 2] }, 100 * 12, 48],
    ['Gemm', 'Gemm', [3, 5], { w: [7, 5], b: [7] }, { transB: 1 }, 3 * 5 * 7, 42],
    ['Gemm, transposed left', 'Gemm', [5, 3], { w: [5, 7] }, { transA: 1 }, 3 * 5 * 7, 35],
    ['MatMul, batched', 'MatMul', [2, 4, 3, 5], { w: [5, 6] }, {}, 8 * 3 * 5 * 6, 30],
    // 7 steps · 2 sequences · 4 gates · 3 hidden · (5 inputs + 3 hidden).
    [
      'LSTM',
      'LSTM',
      [7, 2, 5],
      { w: [1, 12, 5], r: [1, 12, 3], b: [1, 24] },
      { hidden_size: 3 },
      14 * 12 * 8,
      60 + 36 + 24,
    ],
    [
      'GRU, both directions',
      'GRU',
      [7, 2, 5],
      { w: [2, 9, 5], r: [2, 9, 3] },
      { hidden_size: 3, direction: 'bidirectional' },
      14 * 2 * 9 * 8,
      90 + 54,
    ],
    ['Einsum of two', 'Einsum', [2, 3, 4], { w: [4, 5] }, { equation: 'abk, kn -> abn' }, 2 * 3 * 4 * 5, 20],
  ];
  it.each(cases)('%s', async (_, op, x, weights, attributes, macs, params) => {
    const result = await costOf(op, x, weights, attributes);
    expect(result.layers).toHaveLength(1);
    expect(result.layers[0]).toMatchObject({ op, macs, params, bytes: 4 * params, zeros: 0 });
    expect(result).toMatchObject({ macs, params, bytes: 4 * params, notes: [] });
  });

  it('says what it does not know', async () => {
    const result = await costOf('Einsum', [4, 4], {}, { equation: 'ii->i' });
    expect(result.layers[0]?.macs).toBeUndefined();
    expect(result.notes).toEqual([expect.stringMatching(/MACs are unknown/)]);
    const flag = { type: 'bool', dims: [], data: Uint8Array.of(1) } as const;
    const model = ifModel();
    const shapes = await inferShapes(model, batchOf({ x: float([2], [1, -1]), flag }, 2));
    expect(cost(model, shapes).notes).toEqual([expect.stringMatching(/inside If "choice"/)]);
  });
});

describe('cost: weights', () => {
  it('counts zeros, the codes of quantized weights that mean zero, and bytes as stored', async () => {
    const zeroPoints: [DType, Uint8Array | Int8Array, number[], Record<string, number>, number][] = [
      ['uint8', Uint8Array.of(2), [], {}, 1 / 4],
      // Rows hold 0 1 2 3 | 0 1 2 3; zero points 0 and 3, one a row; 0 and 1 for the columns' halves of each row.
      ['int8', Int8Array.of(0, 3), [2], { axis: 0 }, 2 / 8],
      ['int8', Int8Array.of(0, 9, 2, 3), [2, 2], { axis: 1, block_size: 2 }, 2 / 8],
    ];
    for (const [type, points, dims, attributes, zeros] of zeroPoints) {
      const codes = [0, 1, 2, 3, 0, 1, 2, 3];
      const model = makeModel({
        inputs: [makeValue('x', 'float32', ['N', 2])],
        outputs: [makeValue('y', 'float32')],
        nodes: [
          makeNode('DequantizeLinear', ['w', 's', 'z'], ['d'], attributes),
          makeNode('MatMul', ['x', 'd'], ['y']),
        ],
        initializers: [
          makeTensor('w', type, [2, 4], type === 'uint8' ? Uint8Array.from(codes) : Int8Array.from(codes)),
          makeTensor('s', 'float32', dims, new Float32Array(points.length).fill(0.5)),
          makeTensor('z', type, dims, points),
        ],
      });
      const result = await costAt(model, [1, 2]);
      expect(result.layers[0]).toMatchObject({ params: 8, macs: 8, zeros, bytes: 8 + 5 * points.length });
      expect(result.zeros).toBe(zeros);
    }
  });

  it('counts packed weights by what they stand for', async () => {
    const model = makeModel({
      inputs: [makeValue('x', 'float32', ['N', 32])],
      outputs: [makeValue('y', 'float32')],
      nodes: [
        makeNode(
          'MatMulNBits',
          ['x', 'w', 's'],
          ['y'],
          { K: 32, N: 8, bits: 4, block_size: 32 },
          { domain: 'com.microsoft' },
        ),
      ],
      initializers: [
        makeTensor('w', 'uint8', [8, 1, 16], new Uint8Array(128)),
        makeTensor('s', 'float32', [8, 1], new Float32Array(8).fill(1)),
      ],
      domains: { 'com.microsoft': 1 },
    });
    const result = await costAt(model, [3, 32]);
    expect(result.layers[0]).toMatchObject({ params: 256, macs: 3 * 256, bytes: 160, zeros: undefined });
  });

  it('counts what layers share once in the model, embeddings and normalization too', async () => {
    const model = makeModel({
      inputs: [makeValue('x', 'float32', ['N', 4])],
      outputs: [makeValue('y', 'float32'), makeValue('e', 'float32')],
      nodes: [
        makeNode('MatMul', ['x', 'w'], ['a']),
        makeNode('MatMul', ['a', 'w'], ['b']),
        makeNode('PRelu', ['b', 'slope'], ['p']),
        makeNode('Mul', ['p', 'half'], ['y']),
        makeNode('ArgMax', ['y'], ['i'], { axis: 1 }),
        makeNode('Gather', ['table', 'i'], ['e']),
        makeNode('Gather', ['y', 'i'], ['not_a_layer'], { axis: 1 }),
      ],
      initializers: [
        makeTensor(
          'w',
          'float32',
          [4, 4],
          Float32Array.from({ length: 16 }, (_, i) => i % 4),
        ),
        ones('slope', [4]),
        ones('half', []),
        ones('table', [5, 2]),
      ],
    });
    const result = await costAt(model, [1, 4]);
    expect(result.layers.map(({ op, params, macs }) => [op, params, macs])).toEqual([
      ['MatMul', 16, 16],
      ['MatMul', 16, 16],
      ['Gather', 10, 0],
    ]);
    // w once, slope, table; the factor of Mul is a setting.
    expect(result.params).toBe(16 + 4 + 10);
    expect(result.zeros).toBe(4 / 26);
    expect(result.bytes).toBe(4 * (16 + 4 + 1 + 10));
  });

  it('follows weights through what is computed at load', async () => {
    const b = builder();
    const weight = b.node('Transpose', [b.weight('w', [8, 32])], 't');
    const result = await costAt(b.model([row], [b.node('MatMul', ['x', weight], 'm')]), [1, 32]);
    expect(result.layers[0]).toMatchObject({ params: 256, macs: 256, bytes: 256 + 4 + 1 });
    const c = builder();
    const conv = await costAt(
      c.model([image], [c.node('Conv', ['x', c.weight('w', [4, 4, 1, 1])], 'c')]),
      [1, 4, 6, 6],
    );
    expect(conv.layers[0]).toMatchObject({ params: 16, macs: 36 * 16, output: [1, 4, 6, 6] });
  });
});
