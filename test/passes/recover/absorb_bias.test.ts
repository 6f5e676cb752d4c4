import { absorbBias } from '../../../src/passes/recover/absorb_bias.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { floatData, makeTensor } from '../../../src/graph/tensor.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';

const images: Feeds = { x: floats(noise(5, 16 * 3 * 64), [16, 3, 8, 8]) };

/** Conv with large positive biases on even channels, Relu, 1×1 Conv without (or with) padding. */
function net(pads: number[]): Model {
  const bias = Float32Array.from({ length: 8 }, (_, c) => (c % 2 === 0 ? 20 + c : -0.5));
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('y', 'float32')],
    initializers: [
      weight('w1', [8, 3, 3, 3], 1),
      makeTensor('b1', 'float32', [8], bias),
      weight('w2', [5, 8, 1, 1], 3),
      weight('b2', [5], 4),
    ],
    nodes: [
      makeNode('Conv', ['x', 'w1', 'b1'], ['a'], {}, { name: 'first' }),
      makeNode('Relu', ['a'], ['b']),
      makeNode('Conv', ['b', 'w2', 'b2'], ['y'], { pads }, { name: 'second' }),
    ],
  });
}

describe('recover/absorb_bias', () => {
  it('shrinks the range between two layers and keeps the function', async () => {
    const model = net([0, 0, 0, 0]);
    const context = testContext({ calibration: [images], reference: model });
    const { model: after, changed } = await absorbBias.apply(model, absorbBias.options.parse({}), context);
    expect(changed.map((note) => note.layer)).toEqual(['first']);
    expect(changed[0]?.text).toContain('of 4 biases');
    const [x, y] = [(await runModel(model, images)).y, (await runModel(after, images)).y].map(
      (t) => t?.data as Float32Array,
    );
    const largest = x!.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    // Sums of float32 products in another order.
    expect(x!.reduce((m, v, i) => Math.max(m, Math.abs(v - y![i]!)), 0) / largest).toBeLessThan(1e-5);
    const [before, now] = [model, after].map((m) => floatData(initializers(m.graph).get('b1')!));
    expect(before![0]! - now![0]!).toBeGreaterThan(10);
    expect(now![1]).toBe(before![1]);
  });

  it('leaves layers alone whose reader pads with zeros, and says so', async () => {
    const model = net([1, 1, 1, 1]);
    const context = testContext({ calibration: [images], reference: model });
    const { model: after, skipped } = await absorbBias.apply(model, absorbBias.options.parse({}), context);
    expect(skipped).toContainEqual({ layer: 'first', text: '"second" pads its input with zeros' });
    expect(floatData(initializers(after.graph).get('b1')!)).toEqual(floatData(initializers(model.graph).get('b1')!));
  });

  it('tells what the conversion to a newer operator set rewrote: the quantizer behind it finds it done', async () => {
    const old = makeModel({
      ...{ opset: 10, ir: 5 },
      inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
      outputs: [makeValue('y', 'float32', ['N', 8, 6, 6])],
      initializers: [weight('w1', [8, 3, 3, 3], 1)],
      nodes: [
        makeNode('Conv', ['x', 'w1'], ['a'], {}, { name: 'first' }),
        makeNode('Clip', ['a'], ['y'], { min: { float: 0 }, max: { float: 6 } }, { name: 'bounds' }),
      ],
    });
    const { upgradeOpset } = await import('../../../src/graph/opset.ts');
    const expected = upgradeOpset(old, 13).notes.map((note) => `${note.layer}: ${note.text}`);
    expect(expected.length).toBeGreaterThan(0);
    const context = testContext({ calibration: [images], reference: old });
    const { notes } = await absorbBias.apply(old, absorbBias.options.parse({}), context);
    expect(notes).toEqual(expect.arrayContaining(expected));
  });
});
