import type { Feeds } from '../../../src/data/types.ts';
import { makeNode } from '../../../src/graph/build.ts';
import { withOutputs } from '../../../src/graph/edit.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { dimsOf, floatData } from '../../../src/graph/tensor.ts';
import { foldBatchNorm } from '../../../src/passes/fold/batchnorm.ts';
import { restoreBatchNorm } from '../../../src/passes/fold/restore_batchnorm.ts';
import { runModel, testContext } from '../../helpers/context.ts';
import { weight } from '../../helpers/models.ts';
import { batch, batchNorm, f32, model, ops } from './helper.ts';

const options = { layers: ['*'], samples: 512 };
const feeds = batch(8, 3, 6, 6);
const context = (data: Feeds) => testContext({ calibration: [data] });

/** The largest difference between two models' outputs, as a share of the largest output, at both optimization levels. */
async function difference(a: Model, b: Model, data: Feeds): Promise<number> {
  let most = 0;
  for (const level of ['disabled', 'all'] as const) {
    const [x, y] = [await runModel(a, data, level), await runModel(b, data, level)];
    for (const [name, tensor] of Object.entries(x)) {
      const values = tensor.data as Float32Array;
      const largest = values.reduce((m, v) => Math.max(m, Math.abs(v)), 1e-30);
      values.forEach((v, i) => (most = Math.max(most, Math.abs(v - Number(y[name]?.data[i])) / largest)));
    }
  }
  return most;
}

const relu = makeNode('Relu', ['c'], ['y']);
const conv = (attributes = {}, input = ['x', 'w', 'b']) => makeNode('Conv', input, ['c'], attributes, { name: 'conv' });
const plain = model(['N', 3, 6, 6], [conv({ pads: [1, 1, 1, 1] }), relu], [weight('w', [4, 3, 3, 3], 1), weight('b', [4], 2)]); // prettier-ignore

// Rounding of float32 in two factors more: a few units of 6e-8 each.
const rounding = 2e-6;

test.each([
  ['a Conv with a bias', plain],
  ['a Conv without one', model(['N', 3, 6, 6], [conv({}, ['x', 'w']), relu], [weight('w', [4, 3, 3, 3], 1)])],
  ['a depthwise Conv', model(['N', 3, 6, 6], [conv({ group: 3 }), relu], [weight('w', [6, 1, 3, 3], 1), weight('b', [6], 2)])], // prettier-ignore
  ['a ConvTranspose of its own', model(['N', 3, 6, 6], [makeNode('ConvTranspose', ['x', 'w', 'b'], ['c'], {}, { name: 'conv' }), relu], [weight('w', [3, 5, 2, 2], 1), weight('b', [5], 2)])], // prettier-ignore
])('behind %s changes nothing, and folds back', async (_about, before) => {
  const { model: after, changed, skipped } = await restoreBatchNorm.apply(before, options, context(feeds));
  expect(changed.map(({ layer }) => layer)).toEqual(['conv']);
  expect(skipped).toEqual([]);
  expect(ops(after)).toContain('BatchNormalization');
  expect(await difference(before, after, batch(2, 3, 6, 6))).toBeLessThan(rounding);
  const folded = (await foldBatchNorm.apply(after, {}, context(feeds))).model;
  expect(ops(folded)).toEqual(ops(before));
  expect(await difference(before, folded, feeds)).toBeLessThan(rounding);
});

test('the norm has the statistics of its input on the calibration data: variance 1, and the mean', async () => {
  const { model: after } = await restoreBatchNorm.apply(plain, options, context(feeds));
  const norm = after.graph.node.find(({ op_type }) => op_type === 'BatchNormalization')!;
  const [inner = '', , , mean = '', variance = ''] = norm.input;
  const { [inner]: values } = await runModel(withOutputs(after, [inner]), feeds, 'disabled');
  const tensors = initializers(after.graph);
  expect(Array.from(floatData(tensors.get(variance)!))).toEqual([1, 1, 1, 1].map(() => expect.closeTo(1, 6) as number));
  const data = values!.data as Float32Array;
  const means = [0, 0, 0, 0];
  data.forEach((v, i) => (means[Math.floor(i / 36) % 4]! += v / (8 * 36)));
  Array.from(floatData(tensors.get(mean)!)).forEach((m, c) => expect(m).toBeCloseTo(means[c]!, 5));
});

test('a channel that never varies keeps its weights and its value', async () => {
  const data = floatData(weight('w', [4, 3, 3, 3], 1)).map((v, i) => (i < 27 ? 0 : v));
  const dead = model(['N', 3, 6, 6], [conv({ pads: [1, 1, 1, 1] }), relu], [f32('w', [4, 3, 3, 3], [...data]), f32('b', [4], [0.7, 1, 2, 3])]); // prettier-ignore
  const { model: after, changed } = await restoreBatchNorm.apply(dead, options, context(feeds));
  expect(changed[0]?.text).toContain('1 channels hardly vary');
  expect(await difference(dead, after, feeds)).toBeLessThan(rounding);
});

test('a weight that others read is not divided for them', async () => {
  const shared = model(
    ['N', 3, 6, 6],
    [conv(), makeNode('Conv', ['x', 'w'], ['d'], {}, { name: 'other' }), makeNode('Add', ['c', 'd'], ['y'])],
    [weight('w', [4, 3, 3, 3], 1), weight('b', [4], 2)],
  );
  const { model: after } = await restoreBatchNorm.apply(shared, { ...options, layers: ['conv'] }, context(feeds));
  expect(await difference(shared, after, feeds)).toBeLessThan(rounding);
  const both = await restoreBatchNorm.apply(shared, options, context(feeds));
  expect(await difference(shared, both.model, feeds)).toBeLessThan(rounding);
});

test('what has a norm already, makes an output, or is no layer is left alone, and said', async () => {
  const { node, tensors } = batchNorm('c', 'n', 4);
  const normed = model(['N', 3, 6, 6], [conv(), node, makeNode('Conv', ['n', 'v'], ['y'], {}, { name: 'last' })], [weight('w', [4, 3, 3, 3], 1), weight('b', [4], 2), weight('v', [2, 4, 1, 1], 3), ...tensors]); // prettier-ignore
  const { model: after, skipped } = await restoreBatchNorm.apply(normed, options, context(feeds));
  expect(after).toBe(normed);
  expect(Object.fromEntries(skipped.map(({ layer, text }) => [layer, text]))).toMatchObject({
    conv: 'a BatchNormalization reads it already',
    last: 'its output is one of the model, which nothing normalizes',
  });
});

test('a Gemm of transposed weights and factors', async () => {
  const gemm = makeNode(
    'Gemm',
    ['x', 'w', 'b'],
    ['c'],
    { transB: 1, alpha: { float: 0.5 }, beta: { float: 2 } },
    { name: 'fc' },
  );
  const before = model(['N', 6], [gemm, relu], [weight('w', [4, 6], 1), weight('b', [4], 2)]);
  const { model: after } = await restoreBatchNorm.apply(before, options, context(batch(16, 6)));
  expect(dimsOf(initializers(after.graph).get('w')!)).toEqual([4, 6]);
  expect(await difference(before, after, batch(5, 6))).toBeLessThan(rounding);
});
