import type { Tensor } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { NodeProto } from '../../src/graph/proto.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import {
  layerMoments,
  openMoments,
  type MomentBatch,
  type MomentOptions,
  type Moments,
} from '../../src/passes/moments.ts';
import { readRows } from '../../src/passes/rows.ts';
import { floats, runModel, testContext } from '../helpers/context.ts';
import { noise } from '../helpers/models.ts';

const ctx = testContext();
const conv = (attributes: object) => makeNode('Conv', ['x', 'w'], ['y'], attributes as never);
const countOf = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);
const data = (seed: number, dims: readonly number[], mean = 0): Tensor =>
  floats(noise(seed, countOf(dims)).map((v) => v + mean), dims); // prettier-ignore

/** The layer as a model; onnxruntime is the judge of padding, strides, dilations and groups. */
const modelOf = (node: NodeProto, dims: readonly number[], weights: Float32Array, shape: readonly number[]) =>
  makeModel({
    opset: 17,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', ...shape.slice(1)])],
    outputs: [makeValue('y', 'float32')],
    initializers: [makeTensor('w', 'float32', dims, weights)],
    nodes: [node],
  });

async function momentsOf(
  layer: { node: NodeProto; dims: readonly number[] },
  o: MomentOptions,
  batches: readonly MomentBatch[],
): Promise<Moments> {
  const open = openMoments(layer, o);
  for (const batch of batches) await open.add(ctx, batch);
  return open.close(ctx);
}

/** Rows from..to of a tensor. */
function rows(t: Tensor, from: number, to: number): Tensor {
  const inner = t.data.length / (t.dims[0] as number);
  return floats((t.data as Float32Array).slice(from * inner, to * inner), [to - from, ...t.dims.slice(1)]);
}

/** Batches of these sizes. */
function cut(t: Tensor, sizes: readonly number[]): Tensor[] {
  let from = 0;
  return sizes.map((size) => rows(t, from, (from += size)));
}

/** Outputs as columns, [outputs][count]. */
function byOutput(node: NodeProto, y: Tensor): number[][] {
  const last = node.op_type !== 'Conv';
  const outputs = y.dims[last ? y.dims.length - 1 : 1] as number;
  const inner = last ? 1 : countOf(y.dims.slice(2));
  const columns = Array.from({ length: outputs }, (): number[] => []);
  (y.data as Float32Array).forEach((v, i) => columns[Math.floor(i / inner) % outputs]!.push(v));
  return columns;
}

function expectNear(actual: ArrayLike<number>, expected: ArrayLike<number>, share: number): void {
  expect(actual.length).toBe(expected.length);
  const largest = Math.max(...Array.from(expected, Math.abs), 1e-30);
  const worst = Array.from(actual, (v, i) => Math.abs(v - (expected[i] as number)) / largest);
  expect(Math.max(0, ...worst)).toBeLessThan(share);
}

const layers: readonly [string, NodeProto, number[], number[]][] = [
  ['a plain Conv', conv({ pads: [1, 1, 1, 1] }), [4, 3, 3, 3], [5, 3, 7, 6]],
  ['strides, dilations and uneven padding', conv({ strides: [2, 1], dilations: [1, 2], pads: [0, 2, 1, 3] }), [4, 3, 3, 2], [5, 3, 9, 8]], // prettier-ignore
  ['auto_pad', conv({ auto_pad: 'SAME_UPPER', strides: [2, 2] }), [4, 3, 3, 3], [5, 3, 8, 7]],
  ['groups', conv({ group: 2, pads: [1, 1, 1, 1] }), [6, 2, 3, 3], [5, 4, 6, 6]],
  ['a depthwise Conv', conv({ group: 4, strides: [2, 2], pads: [1, 1, 1, 1] }), [4, 1, 3, 3], [5, 4, 6, 6]],
  ['a 1-D Conv', conv({ pads: [1, 1] }), [4, 3, 3], [5, 3, 10]],
  ['MatMul with leading axes', makeNode('MatMul', ['x', 'w'], ['y']), [5, 4], [5, 6, 5]],
  ['MatMul of a vector', makeNode('MatMul', ['x', 'w'], ['y']), [5, 4], [5]],
  ['Gemm', makeNode('Gemm', ['x', 'w'], ['y']), [5, 4], [5, 5]],
  ['Gemm with transB', makeNode('Gemm', ['x', 'w'], ['y'], { transB: 1 }), [4, 5], [5, 5]],
];

describe('openMoments', () => {
  it.each(layers)('predicts the outputs of %s', async (_, node, dims, shape) => {
    const layer = { node, dims };
    const weights = noise(3, countOf(dims));
    const [x, float] = [data(1, shape, 0.5), data(2, shape, -0.3)];
    const model = modelOf(node, dims, weights, shape);
    const [y, wanted] = [(await runModel(model, { x })).y!, (await runModel(model, { x: float })).y!];
    const m = await momentsOf(layer, { target: { weights } }, [{ hat: x, float }]);
    const [outputs, targets] = [byOutput(node, y), byOutput(node, wanted)];
    expect(m.count).toBe(outputs[0]!.length);
    // w·(Σ x xᵀ)·w = Σ (w·x)², and Σ t xᵀ·w = Σ t (w·x): the layer's own outputs, which are float32 too.
    const w = readRows(layer, weights);
    const squares = outputs.map((_row, o) => {
      const g = Math.floor(o / m.rows);
      let sum = 0;
      for (let i = 0; i < m.size; i++)
        for (let j = 0; j < m.size; j++)
          sum += w[o * m.size + i]! * w[o * m.size + j]! * m.gram[(g * m.size + i) * m.size + j]!;
      return sum;
    });
    const crossed = outputs.map((_row, o) => {
      let sum = 0;
      for (let j = 0; j < m.size; j++) sum += w[o * m.size + j]! * m.target[o * m.size + j]!;
      return sum;
    });
    const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((s, v, i) => s + v * b[i]!, 0);
    expectNear(squares, outputs.map((o) => dot(o, o)), 1e-5); // prettier-ignore
    expectNear(crossed, outputs.map((o, i) => dot(o, targets[i]!)), 1e-5); // prettier-ignore
    expectNear(m.targetSum, targets.map((t) => t.reduce((a, b) => a + b, 0)), 1e-5); // prettier-ignore
    // The same from given targets, and as sums alone.
    const given = await momentsOf(layer, { target: 'given' }, [{ hat: x, float: wanted }]);
    expectNear(given.target, m.target, 1e-5);
    expectNear(given.power, targets.map((t) => dot(t, t)), 1e-5); // prettier-ignore
    const sums = await momentsOf(layer, { target: { weights }, products: false }, [{ hat: x, float }]);
    expect([sums.gram.length, sums.target.length, sums.all.count]).toEqual([0, 0, m.count]);
    expectNear(sums.all.sum, m.sum, 1e-5);
    expectNear(sums.all.targetSum, m.targetSum, 1e-5);
  });

  it.each([
    ['all positions', undefined],
    ['some', 16],
  ])('is the same to the bit however the samples are batched (%s)', async (_, positions) => {
    const layer = { node: conv({ pads: [1, 1, 1, 1] }), dims: [4, 2, 3, 3] };
    // More than one part: 2^20 floats hold 81 samples of 2 × 80 × 80.
    const hat = data(6, [100, 2, 80, 80], 3);
    const float = data(7, [100, 2, 80, 80], 3);
    const o: MomentOptions = { target: { weights: noise(5, 72) }, positions };
    const run = (sizes: readonly number[]): Promise<Moments> =>
      momentsOf(layer, o, cut(hat, sizes).map((t, i) => ({ hat: t, float: cut(float, sizes)[i] }))); // prettier-ignore
    const [whole, small] = [await run([100]), await run([16, 16, 16, 16, 16, 16, 4])];
    expect(small).toEqual(whole);
  });

  it('keeps a variance that is far below the square of the mean', async () => {
    const layer = { node: makeNode('Gemm', ['x', 'w'], ['y']), dims: [3, 2] };
    const count = 3000;
    const x = Float32Array.from({ length: 3 * count }, (_, i) => 1000 + ((i * 7919) % 64) / 64);
    const { gram, sum } = await momentsOf(layer, {}, [{ hat: floats(x, [count, 3]) }]);
    const mean = [0, 1, 2].map((k) => x.reduce((s, v, i) => s + (i % 3 === k ? v : 0), 0) / count);
    const exact = [0, 1, 2].map((k) => x.reduce((s, v, i) => s + (i % 3 === k ? (v - mean[k]!) ** 2 : 0), 0));
    // The mean is 3,000 times the deviation: float32 sums of raw products would be wrong by more than the whole variance.
    exact.forEach((v, k) => expect(gram[k * 4]! - sum[k]! ** 2 / count).toBeCloseTo(v, 2));
  });

  it('takes each position of large images once in as many parts as its grid has places', async () => {
    const layer = { node: conv({ pads: [1, 1, 1, 1], strides: [1, 2] }), dims: [4, 2, 3, 3] };
    // 12 × 12 outputs, of which at most 64 are taken, 6 × 6: a part has 2,048 / 36 = 56 samples.
    const x = data(6, [1, 2, 12, 24]);
    const images = floats(Float32Array.from({ length: 224 * 576 }, (_, i) => (x.data as Float32Array)[i % 576]!), [224, 2, 12, 24]); // prettier-ignore
    const target = { weights: noise(5, 72) };
    const thinned = await momentsOf(layer, { target, positions: 64 }, [{ hat: images }]);
    const whole = await momentsOf(layer, { target }, [{ hat: x }]);
    expect([thinned.count, thinned.all.count]).toEqual([56 * whole.count, 224 * whole.count]);
    for (const key of ['gram', 'sum', 'target', 'targetSum'] as const)
      expectNear(thinned[key].map((v) => v / 56), whole[key], 1e-5); // prettier-ignore
    // The sums that the bias is corrected by are over all positions of all samples.
    for (const key of ['sum', 'targetSum'] as const)
      expectNear(thinned.all[key].map((v) => v / 224), whole[key], 1e-5); // prettier-ignore
  });

  it('adds to the target what it is given, if it is of the shape of the output', async () => {
    const layer = { node: conv({ pads: [1, 1, 1, 1] }), dims: [4, 2, 3, 3] };
    const weights = noise(5, 72);
    const hat = data(6, [2, 2, 8, 8]);
    const extra = (await runModel(modelOf(layer.node, layer.dims, weights, hat.dims), { x: hat })).y;
    for (const positions of [undefined, 16]) {
      const o = { target: { weights }, positions };
      const plain = await momentsOf(layer, o, [{ hat }]);
      const twice = await momentsOf(layer, o, [{ hat, extra }]);
      expectNear(twice.target.map((v) => v / 2), plain.target, 1e-5); // prettier-ignore
      expectNear(twice.all.targetSum.map((v) => v / 2), plain.all.targetSum, 1e-5); // prettier-ignore
      expect(await momentsOf(layer, o, [{ hat, extra: data(7, [1, 4, 1, 1]) }])).toEqual(plain);
    }
  });

  it('refuses operators whose columns it does not know', () => {
    const batched = { node: makeNode('MatMul', ['x', 'w'], ['y']), dims: [2, 3, 4] };
    expect(() => openMoments(batched, {})).toThrow('second moments are not known for this MatMul');
  });
});

describe('layerMoments', () => {
  it('looks at several layers in one stream, with the float input of another model', async () => {
    const dims = [4, 2];
    const weights = noise(1, 8);
    const twice = makeModel({
      opset: 17,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 4])],
      outputs: [makeValue('y', 'float32')],
      initializers: [makeTensor('w', 'float32', dims, weights)],
      nodes: [makeNode('Add', ['x', 'x'], ['h']), makeNode('Gemm', ['h', 'w'], ['y'])],
    });
    const context = testContext({ calibration: [{ x: data(1, [3, 4]) }, { x: data(2, [2, 4]) }] });
    const node = twice.graph.node[1]!;
    const requests = [
      { node, dims, input: 'h', reference: 'x', weights },
      { node, dims, input: 'x', weights },
    ];
    const [both, alone] = await layerMoments(context, twice, requests, { reference: twice });
    // x̂ = 2x: the first has four times the moments and, of the same targets, twice the cross moments.
    expect([both!.count, alone!.count]).toEqual([5, 5]);
    expectNear(both!.gram, alone!.gram.map((v) => 4 * v), 1e-6); // prettier-ignore
    expectNear(both!.target, alone!.target.map((v) => 2 * v), 1e-6); // prettier-ignore
  });
});
