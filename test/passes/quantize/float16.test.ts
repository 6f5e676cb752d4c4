import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { edit } from '../../../src/graph/edit.ts';
import { encodeModel, type Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { makeTensor, typeOf } from '../../../src/graph/tensor.ts';
import { float16Quantizer } from '../../../src/passes/quantize/float16.ts';
import { must } from '../../../src/util/must.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';
import { optimizedOps, snr } from '../../helpers/quality.ts';

const feeds = { x: floats(noise(100, 8 * 192), [8, 3, 8, 8]) };

async function halved(model: Model, options: object = {}) {
  const context = testContext({ calibration: [feeds], reference: model });
  const result = await float16Quantizer.apply(model, float16Quantizer.options.parse(options), context);
  const output = async (m: Model) => (await runModel(m, feeds)).y?.data as Float32Array;
  return { ...result, snr: snr(await output(model), await output(result.model)) };
}

describe('quantize/float16', () => {
  it('holds weights in half the bytes, runs the float graph, and is off by float16 rounding', async () => {
    const model = smallConvNet();
    const { model: half, snr, changed } = await halved(model);
    expect(await optimizedOps(half)).toEqual(await optimizedOps(model));
    // 2^-12 of a weight on average at most: 72 dB a layer, four layers deep.
    expect(snr).toBeGreaterThan(62);
    expect(snr).toBeLessThan(90);
    expect(changed.map((c) => c.text.split(':')[0])).toEqual([
      'conv1.weight',
      'conv2.weight',
      'dw.weight',
      'fc.weight',
    ]);
    const bytes = (m: Model) => [...initializers(m.graph).values()].reduce((sum, t) => sum + t.raw_data.length, 0);
    const small = 4 * (8 + 8 + 8 + 5); // biases stay
    expect(bytes(half) - small).toBe((bytes(model) - small) / 2);
    expect(encodeModel(half).length).toBeLessThan(encodeModel(model).length);
  });

  /** The small convnet with another weight of conv2, [8, 8, 3, 3]. */
  const withWeight = (data: Float32Array): Model =>
    edit(smallConvNet(), (d) => d.replace('conv2.weight', makeTensor('', 'float32', [8, 8, 3, 3], data)));

  it.each([
    ['beyond its range', [70000], "holds 70000, beyond float16's 65504"],
    ['of no finite value', [0, -Infinity], 'holds -Infinity at element 1 of 576'],
    ['that is NaN', [NaN], 'holds NaN at element 0 of 576'],
  ])('leaves a tensor with a number %s, and says so', async (_, numbers, text) => {
    const data = noise(5, 576);
    data.set(numbers);
    const { skipped, model } = await halved(withWeight(data));
    expect(skipped).toEqual([{ layer: 'conv2', text: `conv2.weight: ${text}` }]);
    expect(typeOf(must(initializers(model.graph), 'conv2.weight', 'initializer'))).toBe('float32');
  });

  it('leaves a tensor that would become zero or coarse', async () => {
    const zero = await halved(withWeight(noise(5, 576, 1e-9)));
    expect(zero.skipped[0]?.text).toMatch(/too small for float16.* 0 dB, 576 of 576 would be 0/);
    const coarse = await halved(withWeight(noise(5, 576, 1e-6)));
    expect(coarse.skipped[0]?.text).toMatch(/too small for float16.* 3\d dB/);
  });

  it('says how many weights became zero', async () => {
    const data = noise(5, 576).map((w, i) => (i < 3 ? 1e-9 : w));
    expect((await halved(withWeight(data))).changed[1]?.text).toContain('(3 of 576 too small: now 0)');
  });

  it('keeps tiny rows that a later layer makes up for, and halves those that nothing needs', async () => {
    const tiny = noise(5, 576).map((w, i) => (i < 72 ? w * 1e-9 : w));
    const bias = noise(6, 8).map((b, c) => (c === 0 ? 0 : b));
    const dead = edit(withWeight(tiny), (d) => d.replace('conv2.bias', makeTensor('', 'float32', [8], bias)));
    const { changed, skipped } = await halved(dead);
    expect(changed.map((c) => c.layer)).toContain('conv2');
    expect(skipped).toEqual([]);
    // Without the residual beside it, and its channel times 1e9 afterwards.
    const compensated = edit(dead, (d) => {
      const add = d.nodes().find((n) => n.op_type === 'Add');
      const relu = d.nodes().find((n) => n.name === 'relu2');
      if (!add || !relu) throw new Error('another net');
      d.removeNode(add);
      d.update(relu, { input: ['c2'] });
      const dw = noise(7, 72, 0.3).map((w, i) => (i < 9 ? Math.abs(w) * 1e9 : w));
      d.replace('dw.weight', makeTensor('', 'float32', [8, 1, 3, 3], dw));
    });
    const kept = await halved(compensated);
    expect(kept.skipped.map((s) => s.layer).sort()).toEqual(['conv2', 'dw']);
    expect(kept.skipped.find((s) => s.layer === 'conv2')?.text).toContain("which the model's outputs need");
    expect(kept.snr).toBeGreaterThan(60);
  });

  it('leaves the frequencies of positions', async () => {
    const model = makeModel({
      opset: 17,
      inputs: [makeValue('x', 'int64', ['B', 'S'])],
      outputs: [makeValue('y', 'float32')],
      nodes: [
        makeNode('Cast', ['x'], ['c'], { to: 1 }),
        makeNode('Unsqueeze', ['c', 'last'], ['p']),
        makeNode('MatMul', ['p', 'inv_freq'], ['f']),
        makeNode('Sin', ['f'], ['y']),
      ],
      initializers: [weight('inv_freq', [1, 32], 1), makeTensor('last', 'int64', [1], BigInt64Array.of(-1n))],
    });
    const positions = {
      x: { type: 'int64' as const, dims: [1, 2048], data: BigInt64Array.from({ length: 2048 }, (_, i) => BigInt(i)) },
    };
    const context = testContext({ calibration: [positions], reference: model });
    const result = await float16Quantizer.apply(model, float16Quantizer.options.parse({}), context);
    expect(result.skipped[0]?.text).toContain('it makes the angles of');
    const output = async (m: Model) => (await runModel(m, positions)).y?.data as Float32Array;
    expect(snr(await output(model), await output(result.model))).toBe(Infinity);
  });

  it('takes weights that are stored in 16 bits already for what they are', async () => {
    const { model } = await halved(smallConvNet());
    const again = await halved(model);
    expect(again.snr).toBe(Infinity);
    expect(again.changed.map((c) => c.layer)).toEqual(['conv1', 'conv2', 'dw', 'fc']);
    expect(encodeModel(again.model).length).toBeLessThan(1.01 * encodeModel(model).length);
  });

  it('leaves layers in float32 where the schedule says so', async () => {
    const { skipped, changed } = await halved(smallConvNet(), { overrides: { 'op:Conv': { bits_weights: 'float' } } });
    expect(skipped.map((s) => s.layer)).toEqual(['conv1', 'conv2', 'dw']);
    expect(changed.map((c) => c.layer)).toEqual(['fc']);
  });

  it('takes constants of 16 elements on, and says nothing of a loss where there is none', async () => {
    const model = makeModel({
      opset: 13,
      inputs: [makeValue('x', 'float32', [8, 3, 8, 8])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('b15', [3, 1, 5], 1), weight('b16', [2, 1, 1, 1, 8], 2), makeTensor('ids', 'int64', [16], new BigInt64Array(16))], // prettier-ignore
      nodes: [
        makeNode('ReduceMax', ['x'], ['m'], { axes: [3], keepdims: 1 }),
        makeNode('ReduceMax', ['m'], ['n'], { axes: [2], keepdims: 1 }),
        makeNode('Add', ['n', 'b15'], ['s']),
        makeNode('ReduceMax', ['s'], ['t'], { axes: [3], keepdims: 1 }),
        makeNode('Gather', ['t', 'ids'], ['g'], { axis: 0 }),
        makeNode('Mul', ['g', 'b16'], ['y'], {}, { name: 'last' }),
      ],
    });
    const { changed, skipped } = await halved(model);
    expect(changed).toEqual([{ layer: 'last', text: 'b16: float16; float weights at load time' }]);
    expect(skipped).toEqual([]);
    expect((await halved(model, { min_elements: 15 })).changed).toHaveLength(2);
    expect((await halved(model, { min_elements: 17 })).changed).toHaveLength(0);
  });

  it('leaves what any of its layers is to have in float, and tells what was prepared', async () => {
    const model = makeModel({
      opset: 9,
      inputs: [makeValue('x', 'float32', [8, 3, 8, 8])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('w', [8, 8], 1)],
      nodes: [
        makeNode('MatMul', ['x', 'w'], ['a'], {}, { name: 'one' }),
        makeNode('Clip', ['a'], ['b'], { min: { float: 0 } }, { name: 'bound' }),
        makeNode('MatMul', ['b', 'w'], ['y'], {}, { name: 'two' }),
      ],
    });
    const { skipped, notes } = await halved(model, { overrides: { two: { bits_weights: 'float' } } });
    expect(skipped).toEqual([{ layer: 'one', text: 'w: left in float by the schedule' }]);
    expect(notes?.join('\n')).toMatch(/^bound: ./m);
  });
});
