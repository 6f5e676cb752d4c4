import type { Feeds } from '../../src/data/types.ts';
import type { AttributeValue } from '../../src/graph/attribute.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { axesView } from '../../src/graph/layer.ts';
import { macsOf } from '../../src/graph/macs.ts';
import type { Model } from '../../src/graph/model.ts';
import { channelAxis, isMove, opOf, productOf } from '../../src/graph/ops.ts';
import type { Plain } from '../../src/graph/product.ts';
import type { NodeProto } from '../../src/graph/proto.ts';
import { floats, runModel } from '../helpers/context.ts';
import { noise } from '../helpers/models.ts';

const ms = 'com.microsoft';
const size = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1);
const node = (op: string, attributes: Readonly<Record<string, AttributeValue>> = {}, domain = '') =>
  makeNode(op, ['x', 'w'], ['y'], attributes, { domain });
const single = (own: NodeProto, feeds: Feeds): Model =>
  makeModel({
    opset: 17,
    ir: 8,
    domains: { [ms]: 1 },
    inputs: Object.entries(feeds).map(([name, t]) => makeValue(name, t.type, t.dims)),
    outputs: [makeValue('y', 'float32')],
    nodes: [own],
  });

/** A linear operator, its weight fed: the specification says which axis of the data its channels are, and how many MACs it takes. */
interface Linear {
  readonly own: NodeProto;
  readonly x: readonly number[];
  readonly w: readonly number[];
  /** Axis of the data that is summed over. */
  readonly channels: number;
  readonly macs: number;
  readonly rows: number;
  /** Index of the weight among the inputs; the data is the other. */
  readonly at?: 0 | 1;
}

const linear: readonly Linear[] = [
  // Every output element sums over channels of its group and the kernel.
  { own: node('Conv'), x: [2, 3, 5], w: [4, 3, 2], channels: 1, rows: 4, macs: 2 * 4 * 4 * 3 * 2 },
  { own: node('Conv'), x: [1, 3, 5, 4], w: [2, 3, 2, 1], channels: 1, rows: 2, macs: 2 * 4 * 4 * 3 * 2 },
  { own: node('Conv', { group: 2 }), x: [1, 4, 3], w: [6, 2, 2], channels: 1, rows: 6, macs: 6 * 2 * 2 * 2 },
  { own: node('FusedConv', {}, ms), x: [1, 3, 5], w: [4, 3, 2], channels: 1, rows: 4, macs: 4 * 4 * 3 * 2 },
  // Every input element is spread over output channels of its group and the kernel.
  { own: node('ConvTranspose'), x: [2, 3, 4], w: [3, 5, 2], channels: 1, rows: 5, macs: 2 * 3 * 4 * 5 * 2 },
  { own: node('ConvTranspose', { group: 2 }), x: [1, 4, 3], w: [4, 3, 2], channels: 1, rows: 6, macs: 4 * 3 * 3 * 2 },
  { own: node('Gemm'), x: [2, 3], w: [3, 4], channels: 1, rows: 4, macs: 2 * 3 * 4 },
  { own: node('Gemm', { transB: 1 }), x: [2, 3], w: [4, 3], channels: 1, rows: 4, macs: 2 * 3 * 4 },
  { own: node('Gemm', { transA: 1 }), x: [3, 2], w: [3, 4], channels: 0, rows: 4, macs: 2 * 3 * 4 },
  // An activation of slope 2 below 0, which keeps apart what the product keeps apart.
  {
    own: node('FusedGemm', { transB: 1, activation: 'LeakyRelu', activation_alpha: { float: 2 } }, ms),
    x: [2, 3],
    w: [4, 3],
    channels: 1,
    rows: 4,
    macs: 2 * 3 * 4,
  },
  { own: node('Gemm'), at: 0, x: [3, 2], w: [4, 3], channels: 0, rows: 4, macs: 4 * 3 * 2 },
  { own: node('Gemm', { transA: 1 }), at: 0, x: [3, 2], w: [3, 4], channels: 0, rows: 4, macs: 4 * 3 * 2 },
  { own: node('Gemm', { transB: 1 }), at: 0, x: [2, 3], w: [4, 3], channels: 1, rows: 4, macs: 4 * 3 * 2 },
  { own: node('MatMul'), x: [2, 5, 3], w: [3, 4], channels: 2, rows: 4, macs: 2 * 5 * 3 * 4 },
  { own: node('MatMul'), x: [2, 5, 3], w: [2, 3, 4], channels: 2, rows: 8, macs: 2 * 5 * 3 * 4 },
  { own: node('MatMul'), x: [2, 2, 5, 3], w: [2, 2, 3, 4], channels: 3, rows: 16, macs: 4 * 5 * 3 * 4 },
  { own: node('MatMul'), at: 0, x: [3, 2], w: [4, 3], channels: 0, rows: 4, macs: 4 * 3 * 2 },
  { own: node('MatMul'), at: 0, x: [2, 3, 2], w: [2, 4, 3], channels: 1, rows: 8, macs: 2 * 4 * 3 * 2 },
  { own: node('FusedMatMul', {}, ms), x: [2, 5, 3], w: [3, 4], channels: 2, rows: 4, macs: 2 * 5 * 3 * 4 },
  { own: node('FusedMatMul', { transB: 1 }, ms), x: [5, 3], w: [4, 3], channels: 1, rows: 4, macs: 5 * 3 * 4 },
  {
    own: node('FusedMatMul', { transB: 1 }, ms),
    x: [2, 5, 3],
    w: [2, 4, 3],
    channels: 2,
    rows: 8,
    macs: 2 * 5 * 3 * 4,
  },
  { own: node('FusedMatMul', { transA: 1 }, ms), x: [3, 5], w: [3, 4], channels: 0, rows: 4, macs: 5 * 3 * 4 },
];

/** The tensor with some of its elements 0. */
const without = (data: Float32Array, drop: (index: number) => boolean) => data.map((v, i) => (drop(i) ? 0 : v));
const place = (dims: readonly number[], axis: number) => (index: number) =>
  Math.floor(index / size(dims.slice(axis + 1))) % (dims[axis] as number);

describe('a product of the table, as onnxruntime computes it', () => {
  it.each(linear.map((c) => [`${c.own.op_type} ${JSON.stringify([c.x, c.w, c.at ?? 1])}`, c] as const))(
    '%s: rows of the weight make outputs of their own, and its inner axis meets the channels of the data',
    async (_, { own, x, w, channels, macs, rows, at = 1 }) => {
      const names = at === 1 ? { x, w } : { x: w, w: x };
      const model = single(
        own,
        Object.fromEntries(Object.entries(names).map(([n, d]) => [n, floats(noise(1, size(d)), d)])),
      );
      const run = async (data: Float32Array, weight: Float32Array): Promise<{ y: Float32Array; dims: number[] }> => {
        const [dataName, weightName] = at === 1 ? ['x', 'w'] : ['w', 'x'];
        const got = await runModel(model, { [dataName]: floats(data, x), [weightName]: floats(weight, w) }, 'disabled');
        return { y: got['y']?.data as Float32Array, dims: [...(got['y']?.dims ?? [])] };
      };
      const product = productOf(own);
      expect(product?.weights).toContain(at);
      const axes = product?.axes(own, at, w.length);
      if (!axes) throw new Error('no axes');
      const [data, weight] = [noise(2, size(x)), noise(3, size(w))];
      const whole = await run(data, weight);

      const view = axesView(w, axes);
      expect(view.rows).toBe(rows);
      const changed = new Set<number>();
      for (let r = 0; r < view.rows; r++) {
        const mine = new Set(Array.from(view.columnStep, (step) => (view.rowStart[r] as number) + step));
        const { y } = await run(
          data,
          without(weight, (i) => mine.has(i)),
        );
        const differs = [...y.keys()].filter((i) => y[i] !== whole.y[i]);
        expect(differs.length).toBeGreaterThan(0);
        // No output depends on two rows, and without its row it is 0.
        for (const i of differs) {
          expect([changed.has(i), y[i]]).toEqual([false, 0]);
          changed.add(i);
        }
      }
      expect(changed.size).toBe(whole.y.length);

      const [inner] = axes.in as [number];
      expect(axes.in).toHaveLength(1);
      const perGroup = (w[inner] as number) * (axes.grouped === 'out' ? axes.groups : 1);
      expect(perGroup).toBe(x[channels]);
      for (let k = 0; k < (w[inner] as number); k++) {
        const byWeight = await run(
          data,
          without(weight, (i) => place(w, inner)(i) === k),
        );
        const byData = await run(
          without(data, (i) => place(x, channels)(i) % (w[inner] as number) === k),
          weight,
        );
        expect(byWeight.y).toEqual(byData.y);
      }

      const shapes = new Map(
        Object.entries({ ...names, y: whole.dims }).map(([n, dims]) => [n, { type: 'float32' as const, dims }]),
      );
      if (at === product?.weights[0]) expect(macsOf(own, shapes)).toBe(macs);
    },
  );

  it.each([
    ['W', 1],
    ['R', 2],
  ] as const)('RNN: %s has directions and hidden units as rows', async (_, at) => {
    const own = makeNode('RNN', ['x', 'w', 'r', '', '', 'h'], ['y'], { hidden_size: 3, direction: 'bidirectional' });
    const dims = { x: [1, 1, 2], w: [2, 3, 2], r: [2, 3, 3], h: [2, 1, 3] };
    const feeds: Feeds = Object.fromEntries(
      Object.entries(dims).map(([name, d], i) => [name, floats(noise(i, size(d)), d)]),
    );
    const run = async (more: Feeds = {}) =>
      (await runModel(single(own, feeds), { ...feeds, ...more }, 'disabled'))['y']?.data as Float32Array;
    const [name, channel] = at === 1 ? ['w', 'x'] : ['r', 'h'];
    const w = dims[name as 'w'];
    const axes = productOf(own)?.axes(own, at, 3);
    if (!axes) throw new Error('no axes');
    const [weight, whole, { rowStart, columnStep }] = [
      feeds[name]?.data as Float32Array,
      await run(),
      axesView(w, axes),
    ];
    for (const [r, start] of rowStart.entries()) {
      const mine = new Set(Array.from(columnStep, (step) => start + step));
      const y = await run({
        [name]: floats(
          without(weight, (i) => mine.has(i)),
          w,
        ),
      });
      // One step, so that an output is one row's.
      expect([...y.keys()].filter((i) => y[i] !== whole[i])).toEqual([r]);
    }
    expect(axes).toMatchObject({ in: [2], groups: 1 });
    const data = feeds[channel] as Feeds[string];
    const dead = without(data.data as Float32Array, (i) => place(data.dims, 2)(i) === 1);
    expect(await run({ [channel]: floats(dead, data.dims) })).toEqual(
      await run({
        [name]: floats(
          without(weight, (i) => place(w, 2)(i) === 1),
          w,
        ),
      }),
    );
    // The bias is none of them.
    expect(productOf(own)?.axes(own, 3, 2)).toBeUndefined();
  });

  it('Gather: entries of the table are rows, however many axes they have', () => {
    expect(productOf(node('Gather'))?.axes(node('Gather'), 0, 3)).toEqual({
      out: [0],
      in: [1, 2],
      groups: 1,
      grouped: 'out',
    });
  });
});

describe('multiply-accumulates by the specification', () => {
  const shapes = new Map(
    Object.entries({ x: [2, 3, 4], w: [4, 5], r: [1, 8, 2], y: [2, 3, 5] }).map(([name, dims]) => [
      name,
      { type: 'float32' as const, dims },
    ]),
  );
  it.each([
    ['bti,io->bto', 2 * 3 * 4 * 5],
    [' b t i, i o -> b t o ', 2 * 3 * 4 * 5],
    // Without an arrow the output follows from the letters; a sum over one letter multiplies as often.
    ['bti,io', 2 * 3 * 4 * 5],
    ['bti,ao->btiao', 2 * 3 * 4 * 4 * 5],
    ['...i,io->...o', 'not a product of two tensors'],
    ['bti->bt', 'not a product of two tensors'],
    ['bti,io,o->bt', 'not a product of two tensors'],
  ])('of Einsum %s', (equation, expected) => {
    const own = node('Einsum', { equation });
    const macs = macsOf(own, shapes);
    expect(typeof macs === 'string' ? macs.includes(String(expected)) : macs).toBe(
      typeof macs === 'string' || expected,
    );
  });

  it('of what has no equation, looks up, or is not counted', () => {
    expect(macsOf(node('Einsum'), shapes)).toContain('not a product of two tensors');
    expect(macsOf(node('Gather'), shapes)).toBe(0);
    expect(macsOf(node('Attention'), shapes)).toContain('Attention is not counted');
    expect(macsOf(node('Relu'), shapes)).toContain('Relu is not counted');
    expect(macsOf(node('Conv'), new Map())).toContain('shapes were not seen');
    // x [2 steps, 3 sequences, 4], W of 4·5 and R of 8·2 weights.
    expect(macsOf(makeNode('GRU', ['x', 'w', 'r'], ['y']), shapes)).toBe(2 * 3 * (20 + 16));
    // Two samples of 4 × 5 outputs on 3 channels, as Conv: a group's channels and the kernel for each output element.
    expect(macsOf(makeNode('DeformConv', ['x', 'x', 'w'], ['y']), shapes)).toBe(30 * 3 * 4);
  });
});

/** Inputs of operators by ONNX's and onnxruntime's operator pages: [weights, bias, zero point of the weights, data, further]. */
type Inputs = readonly [
  as: Plain,
  weights: number[],
  bias?: number | undefined,
  zeroPoint?: number | undefined,
  data?: number,
  more?: number[],
];
const standardInputs: Record<string, Inputs> = {
  Conv: ['Conv', [1], 2],
  ConvTranspose: ['ConvTranspose', [1], 2],
  // X, W, offset, B, mask
  DeformConv: ['DeformConv', [1], 3],
  Gemm: ['Gemm', [1, 0], 2],
  MatMul: ['MatMul', [1, 0]],
  Einsum: ['Einsum', [1, 0]],
  // X, W, R, B, sequence_lens, initial_h, initial_c, P
  LSTM: ['RNN', [1, 2], 3, undefined, 0, [7]],
  GRU: ['RNN', [1, 2], 3],
  RNN: ['RNN', [1, 2], 3],
  Attention: ['Attention', []],
  // data, indices
  Gather: ['Gather', [0], undefined, undefined, 1],
};
const integerInputs: Record<string, Inputs> = {
  // x, scale, zero; w, scale, zero; y's scale, zero; B
  QLinearConv: ['Conv', [3], 8, 5],
  // x, w, x's zero, w's zero
  ConvInteger: ['Conv', [1], undefined, 3],
  QLinearMatMul: ['MatMul', [3], undefined, 5],
  MatMulInteger: ['MatMul', [1], undefined, 3],
};
const contributedInputs: Record<string, Inputs> = {
  FusedConv: ['Conv', [1], 2],
  FusedMatMul: ['MatMul', [1]],
  FusedGemm: ['Gemm', [1, 0], 2],
  MultiHeadAttention: ['Attention', []],
  GroupQueryAttention: ['Attention', []],
  // input, weights, bias, …
  Attention: ['Attention', [1], 2],
};
const contributedIntegers: Record<string, Inputs> = {
  QLinearConv: ['Conv', [3], 8, 5],
  // A, scale, zero; B, scale, zero; C
  QGemm: ['Gemm', [3], 6, 5],
  // A, B, A's scale, B's scale, A's zero, B's zero, bias
  MatMulIntegerToFloat: ['MatMul', [1], 6, 5],
  // A, B, B's scale, B's zero, bias
  DynamicQuantizeMatMul: ['MatMul', [1], 4, 3],
  // A, B packed, scales, zeros packed, g_idx, bias
  MatMulNBits: ['MatMul', [1], 5],
  // X, W, R, B, …
  DynamicQuantizeLSTM: ['RNN', [1, 2], 3],
  // data, indices, scales, zeros
  GatherBlockQuantized: ['Gather', [0], undefined, undefined, 1],
  QAttention: ['Attention', [1], 2],
};

describe('the inputs of each operator', () => {
  const rows = (table: Record<string, Inputs>, domain: string, integer: boolean) =>
    Object.entries(table).map(([op, inputs]) => ({ op, domain, integer, inputs }));
  it.each([
    ...rows(standardInputs, '', false),
    ...rows(standardInputs, 'ai.onnx', false),
    ...rows(integerInputs, '', true),
    ...rows(contributedInputs, ms, false),
    ...rows(contributedIntegers, ms, true),
    ...rows({ Conv: ['Conv', [1], 2] }, 'com.microsoft.nchwc', false),
  ])('$domain $op', ({ op, domain, integer, inputs: [as, weights, bias, zeroPoint, data = 0, more = []] }) => {
    const own = node(op, {}, domain);
    expect(productOf(own)).toMatchObject({ as, weights, bias, zeroPoint, data, more, integer });
    // Only an embedding moves what it multiplies by nothing.
    expect(isMove(own)).toBe(as === 'Gather' && !integer);
  });

  it.each([
    ['own', 'Conv'],
    [ms, 'Conv'],
    [ms, 'Relu'],
    ['', 'FusedConv'],
    ['', 'Nonsense'],
    ['com.microsoft.nchwc', 'MaxPool'],
    ['com.microsoft.nchwc', 'Gemm'],
  ])('knows no %s %s', (domain, op) => {
    const own = node(op, {}, domain);
    expect([opOf(own), productOf(own), isMove(own), channelAxis(own, 1, 2)]).toEqual([
      undefined,
      undefined,
      false,
      undefined,
    ]);
  });
});

describe('the axis that scales a channel run along', () => {
  it.each([
    [node('Conv'), 4, 0],
    [node('ConvTranspose'), 4, 1],
    [node('Gemm', { transB: 1 }), 2, 0],
    [node('MatMul'), 3, 2],
    [node('RNN'), 3, 1],
    // Stored otherwise than their plain operators: [N, blocks of K, bytes] and [directions, input, gates].
    [node('MatMulNBits', {}, ms), 3, 0],
    [node('DynamicQuantizeLSTM', {}, ms), 3, 2],
    // A vector has no channels, a weight of Einsum no order, an activation no weight.
    [node('MatMul'), 1, undefined],
    [node('FusedMatMul', { transB: 1 }, ms), 1, undefined],
    [node('Einsum'), 2, undefined],
    [node('Attention'), 2, undefined],
    [node('Relu'), 2, undefined],
  ])('case %#', (own, rank, expected) => {
    expect(channelAxis(own, 1, rank)).toBe(expected);
  });
});
