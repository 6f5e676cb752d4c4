import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { NodeProto } from '../../src/graph/proto.ts';
import { initializers } from '../../src/graph/query.ts';
import { dimsOf } from '../../src/graph/tensor.ts';
import { layerGrams, type LayerGram } from '../../src/passes/gram.ts';
import { floats, runModel, testContext } from '../helpers/context.ts';
import { noise, weight } from '../helpers/models.ts';

/**
 * The moments predict the mean square of the layer's outputs: Σ‖w·x‖² = wᵀ G w for every output channel. onnxruntime runs the
 * layer itself as the judge, so the im2col order, padding, strides, dilations and groups must all be right.
 */
async function expectMoments(node: NodeProto, dims: number[], shape: number[]): Promise<void> {
  const model = makeModel({
    opset: 17,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', ...shape])],
    outputs: [makeValue('y', 'float32')],
    initializers: [weight('w', dims, 3)],
    nodes: [node],
  });
  const count = shape.reduce((a, b) => a * b, 1);
  const calibration = [1, 2].map((seed) => ({ x: floats(noise(seed, 3 * count), [3, ...shape]) }));
  const [gram] = (await layerGrams(testContext({ calibration }), model, [{ node, dims, input: 'x' }])) as [LayerGram];
  const w = initializers(model.graph).get('w');
  const data = new Float32Array(w!.raw_data.buffer, w!.raw_data.byteOffset);
  const channelLast = node.op_type !== 'Conv';
  const outputs = channelLast ? (dims.at(-1) as number) : (dims[0] as number);
  const actual = new Float64Array(outputs);
  for (const feeds of calibration) {
    const y = (await runModel(model, feeds)).y;
    const inner = channelLast ? 1 : y!.dims.slice(2).reduce((a, b) => a * b, 1);
    (y!.data as Float32Array).forEach((v, i) => (actual[Math.floor(i / inner) % outputs]! += v * v));
  }
  const K = gram.size;
  for (let o = 0; o < outputs; o++) {
    const g = channelLast ? 0 : Math.floor(o / (outputs / gram.groups));
    let predicted = 0;
    for (let i = 0; i < K; i++)
      for (let j = 0; j < K; j++) {
        const at = (k: number): number => data[channelLast ? k * outputs + o : o * K + k] as number;
        predicted += at(i) * at(j) * (gram.gram[(g * K + i) * K + j] as number);
      }
    // Both sides sum float32 products: about 1e-5 of the value.
    expect(Math.abs(predicted - (actual[o] as number))).toBeLessThan(1e-4 * (actual[o] as number));
  }
  expect(dimsOf(w!)).toEqual(dims);
}

describe('layerGrams', () => {
  const conv = (attributes: object) => makeNode('Conv', ['x', 'w'], ['y'], attributes as never);
  it('predicts the outputs of a plain Conv', () =>
    expectMoments(conv({ pads: [1, 1, 1, 1] }), [4, 3, 3, 3], [3, 7, 6]));
  it('with strides, dilations and uneven padding', () =>
    expectMoments(conv({ strides: [2, 1], dilations: [1, 2], pads: [0, 2, 1, 3] }), [4, 3, 3, 2], [3, 9, 8]));
  it('with auto_pad', () => expectMoments(conv({ auto_pad: 'SAME_UPPER', strides: [2, 2] }), [4, 3, 3, 3], [3, 8, 7]));
  it('with groups, and depthwise', async () => {
    await expectMoments(conv({ group: 2, pads: [1, 1, 1, 1] }), [6, 2, 3, 3], [4, 6, 6]);
    await expectMoments(conv({ group: 4, strides: [2, 2], pads: [1, 1, 1, 1] }), [4, 1, 3, 3], [4, 6, 6]);
  });
  it('of a 1-D Conv', () => expectMoments(conv({ pads: [1, 1] }), [4, 3, 3], [3, 10]));
  it('of MatMul with leading axes', () => expectMoments(makeNode('MatMul', ['x', 'w'], ['y']), [5, 4], [6, 5]));
  it('of Gemm', () => expectMoments(makeNode('Gemm', ['x', 'w'], ['y']), [5, 4], [5]));

  it('gives the same sums and count without the products', async () => {
    const node = conv({ strides: [2, 1], pads: [0, 2, 1, 3] });
    const model = makeModel({
      opset: 17,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 3, 9, 8])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('w', [4, 3, 3, 2], 3)],
      nodes: [node],
    });
    const calibration = [1, 2].map((seed) => ({ x: floats(noise(seed, 5 * 216), [5, 3, 9, 8]) }));
    const given = async (products: boolean): Promise<LayerGram> =>
      (
        await layerGrams(testContext({ calibration }), model, [{ node, dims: [4, 3, 3, 2], input: 'x' }], { products })
      )[0] as LayerGram;
    const [full, sums] = [await given(true), await given(false)];
    expect(sums.gram).toHaveLength(0);
    expect(sums.count).toBe(full.count);
    // float32 sums in another order.
    sums.sum.forEach((s, i) => expect(s).toBeCloseTo(full.sum[i] as number, 3));
  });

  it('gives cross moments with a reference model', async () => {
    const double = makeModel({
      opset: 17,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 4])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('w', [4, 2], 1)],
      nodes: [makeNode('Add', ['x', 'x'], ['h']), makeNode('Gemm', ['h', 'w'], ['y'])],
    });
    const calibration = [{ x: floats(noise(1, 12), [3, 4]) }];
    const node = double.graph.node[1] as NodeProto;
    const request = { node, dims: [4, 2], input: 'h', reference: 'x' };
    const [gram] = (await layerGrams(testContext({ calibration }), double, [request], { reference: double })) as [
      LayerGram,
    ];
    // x̂ = 2x, so Σ x̂x̂ᵀ = 2 Σ x x̂ᵀ and Σ x̂ = 2 Σ x.
    gram.gram.forEach((g, i) => expect(g).toBeCloseTo(2 * (gram.cross[i] as number), 4));
    gram.sum.forEach((s, i) => expect(s).toBeCloseTo(2 * (gram.crossSum[i] as number), 4));
    expect(gram.count).toBe(3);
  });
});
