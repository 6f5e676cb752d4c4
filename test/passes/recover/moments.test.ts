import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { layerGrams, type LayerGram } from '../../../src/passes/gram.ts';
import { besides } from '../../../src/passes/recover/beside.ts';
import { momentsOf, openMoments, type LayerMoments } from '../../../src/passes/recover/moments.ts';
import { quantizedLayers, type QuantizedLayer } from '../../../src/passes/recover/sites.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import type { NodeProto } from '../../../src/graph/proto.ts';
import type { Tensor } from '../../../src/data/types.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';

const ctx = testContext();

function layerOf(node: NodeProto, dims: readonly number[], weights: Float32Array): QuantizedLayer {
  return {
    ...{ name: node.name, node, twin: node, dims, weights, bias: undefined, scaleName: 's', scaleAxis: 0 },
    ...{ codes: makeTensor('codes', 'int8', dims, new Int8Array(weights.length)) },
    ...{ scale: new Float32Array(dims[0] ?? 1), zeroPoint: new Int8Array(dims[0] ?? 1) },
  };
}

/** The same by `layerGrams`, which is held against onnxruntime's outputs elsewhere, from all positions. */
async function whole(layer: QuantizedLayer, x: Tensor): Promise<LayerMoments> {
  const inputs = [makeValue('x', 'float32', ['N', ...x.dims.slice(1)])];
  const outputs = [makeValue('y', 'float32')];
  const initializers = [makeTensor('w', 'float32', layer.dims, layer.weights)];
  const model = makeModel({ opset: 17, ir: 8, inputs, outputs, initializers, nodes: [layer.node] });
  const given = testContext({ calibration: [{ x }] });
  const [gram] = await layerGrams(given, model, [{ node: layer.node, dims: layer.dims, input: 'x' }]);
  return momentsOf(layer, gram as LayerGram);
}

function expectSame(actual: LayerMoments, expected: LayerMoments, times = 1): void {
  expect(actual.count).toBe(expected.count);
  for (const key of ['gram', 'sum'] as const) {
    const largest = Math.max(...expected[key].map(Math.abs));
    // Sums of float32 products: 1e-5 of the largest.
    actual[key].forEach((v, i) => expect(Math.abs(v - expected[key][i]!)).toBeLessThan(1e-5 * largest));
  }
  for (const key of ['target', 'targetSum'] as const) {
    const largest = Math.max(...expected[key].map(Math.abs));
    actual[key].forEach((v, i) => expect(Math.abs(v - times * expected[key][i]!)).toBeLessThan(1e-5 * times * largest));
  }
}

const conv = (attributes: object) => makeNode('Conv', ['x', 'w'], ['y'], attributes as never);

describe('openMoments', () => {
  it.each([
    ['a Conv', conv({ pads: [1, 1, 1, 1], strides: [2, 2] }), [4, 3, 3, 3], [3, 3, 8, 8]],
    ['a Conv with groups', conv({ group: 2 }), [6, 2, 3, 3], [3, 4, 7, 6]],
    ['a Gemm', makeNode('Gemm', ['x', 'w'], ['y'], { transB: 1 }), [5, 7], [9, 7]],
    ['a MatMul', makeNode('MatMul', ['x', 'w'], ['y']), [7, 5], [2, 4, 7]],
  ])('sums what the second moments of the inputs give for %s', async (_, node, dims, shape) => {
    const count = dims.reduce((a, b) => a * b, 1);
    const layer = layerOf(node, dims, noise(3, count));
    const x = floats(noise(4, shape.reduce((a, b) => a * b, 1)), shape); // prettier-ignore
    const sums = openMoments(layer, 512);
    await sums.add(ctx, x, x, undefined);
    expectSame(sums.moments, await whole(layer, x));
  });

  it('takes each position of large images once in as many batches as its grid has places', async () => {
    const layer = layerOf(conv({ pads: [1, 1, 1, 1], strides: [1, 2] }), [4, 2, 3, 3], noise(5, 72));
    // 12 × 12 outputs, of which at most 64 are taken: every second along both axes.
    const x = floats(noise(6, 2 * 2 * 12 * 24), [2, 2, 12, 24]);
    const sums = openMoments(layer, 512);
    for (let batch = 0; batch < 4; batch++) await sums.add(ctx, x, x, undefined);
    const expected = await whole(layer, x);
    expectSame(sums.moments, expected);
    // The sums that the bias is corrected by are over all positions of all four batches.
    const all = { ...expected, ...sums.moments.all, sum: sums.moments.all.sum.map((v) => v / 4) };
    expectSame(
      { ...all, count: all.count / 4, targetSum: all.targetSum.map((v) => v / 4) },
      { ...expected, ...expected.all },
    );
  });

  it('adds to the target what it is given, if it is of the shape of the output', async () => {
    const layer = layerOf(conv({ pads: [1, 1, 1, 1] }), [4, 2, 3, 3], noise(5, 72));
    const x = floats(noise(6, 2 * 2 * 64), [2, 2, 8, 8]);
    const inputs = [makeValue('x', 'float32', ['N', 2, 8, 8])];
    const initializers = [makeTensor('w', 'float32', layer.dims, layer.weights)];
    const outputs = [makeValue('y', 'float32')];
    const y = await runModel(makeModel({ opset: 17, ir: 8, inputs, outputs, initializers, nodes: [layer.node] }), {
      x,
    });
    const [twice, once] = [openMoments(layer, 512), openMoments(layer, 512)];
    await twice.add(ctx, x, x, y.y);
    expectSame(twice.moments, await whole(layer, x), 2);
    await once.add(ctx, x, x, floats(noise(7, 4), [1, 4, 1, 1]));
    expectSame(once.moments, await whole(layer, x));
  });
});

describe('besides', () => {
  it('finds what a layer’s output is added to, in both models', async () => {
    const float = smallConvNet();
    const context = testContext({ calibration: [{ x: floats(noise(1, 192), [1, 3, 8, 8]) }], reference: float });
    const { model, twin } = await staticQuantizer.apply(float, staticQuantizer.options.parse({}), context);
    const found = besides(model, twin!, quantizedLayers(model, twin!).layers);
    const add = float.graph.node.find((node) => node.op_type === 'Add');
    const branch = float.graph.node.find((node) => add?.input.includes(node.output[0]!) && node.op_type === 'Conv');
    expect(branch).toBeDefined();
    const other = add?.input.find((name) => name !== branch?.output[0]);
    const beside = found.get(branch?.name ?? '');
    expect([found.size, beside?.twin]).toEqual([1, other]);
    expect(beside?.value).toContain(other);
  });
});
