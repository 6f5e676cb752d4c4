import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { featureQuantization } from '../../../src/passes/recover/feature_quantization.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';

const feeds = (seed: number, count = 4) => ({ x: floats(noise(seed, count * 3 * 36), [count, 3, 6, 6]) });

/** Conv → Relu → Conv; the features of the first are shown as an output of their own. */
function net(relu = true): Model {
  return makeModel({
    inputs: [makeValue('x', 'float32', ['N', 3, 6, 6])],
    outputs: [makeValue('y', 'float32'), makeValue('raw', 'float32'), makeValue('seen', 'float32')],
    initializers: [weight('w1', [8, 3, 3, 3], 1), makeTensor('w2', 'float32', [8, 8, 1, 1], eye(8))],
    nodes: [
      makeNode('Conv', ['x', 'w1'], ['a'], {}, { name: 'first' }),
      makeNode(relu ? 'Relu' : 'Identity', ['a'], ['b'], {}, { name: 'act' }),
      makeNode('Abs', ['b'], ['raw']),
      makeNode('Neg', ['b'], ['seen']),
      makeNode('Conv', ['b', 'w2'], ['y'], {}, { name: 'second' }),
    ],
  });
}
function eye(n: number): Float32Array {
  return Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));
}

async function applied(model: Model, given: object) {
  const options = featureQuantization.options.parse({ layers: ['first'], ...given });
  return featureQuantization.apply(
    model,
    options,
    testContext({ calibration: [feeds(3), feeds(4, 2)], reference: model }),
  );
}
const of = async (model: Model, name = 'y', level: 'disabled' | 'all' = 'all'): Promise<Float32Array> =>
  (await runModel(model, feeds(7), level))[name]!.data as Float32Array;

describe('FeatureQuantization', () => {
  it.each(['disabled', 'all'] as const)(
    'is the floor function, bit for bit, at optimization level %s',
    async (level) => {
      const model = net(false);
      const { model: after, changed } = await applied(model, { resolution: 3, unit: 'one' });
      expect(changed).toEqual([{ layer: 'first', text: 'its output goes to the multiple below of 0.333' }]);
      const features = await of(model, 'y', level);
      expect(features.some((v) => v < 0)).toBe(true);
      const wanted = features.map((v) => Math.fround(Math.floor(Math.fround(v * 3)) / 3));
      expect(await of(after, 'y', level)).toEqual(wanted);
      // All that read the features read them changed.
      expect(await of(after, 'seen', level)).toEqual(wanted.map((v) => -v));
    },
  );

  it('rounds to the nearest step where it is told to, which keeps the mean', async () => {
    const model = net(false);
    const { model: after } = await applied(model, { resolution: 2, unit: 'one', nearest: true });
    const wanted = (await of(model)).map((v) => Math.floor(Math.fround(Math.fround(v * 2) + 0.5)) / 2);
    expect(await of(after)).toEqual(wanted);
  });

  it.each(['disabled', 'all'] as const)('is the signed power function at optimization level %s', async (level) => {
    const model = net(false);
    const { model: after } = await applied(model, { exponent: 0.5, unit: 'one' });
    const [features, got] = [await of(model, 'y', level), await of(after, 'y', level)];
    // Pow in float32 is good to some units of the last place.
    for (const [i, v] of features.entries()) expect(got[i]).toBeCloseTo(Math.sign(v) * Math.sqrt(Math.abs(v)), 5);
  });

  it('counts in units of the root mean square on the calibration data, which keeps its size', async () => {
    const model = net(false);
    const parts = [await runModel(model, feeds(3)), await runModel(model, feeds(4, 2))];
    const calibration = parts.flatMap(({ y }) => Array.from(y!.data as Float32Array));
    const rms = Math.sqrt(calibration.reduce((sum, v) => sum + v * v, 0) / calibration.length);
    const { model: after } = await applied(model, { exponent: 0.7, resolution: 4 });
    const features = await of(model);
    for (const [i, v] of (await of(after)).entries()) {
      const stepped = Math.floor((features[i]! / rms) * 4) / 4;
      expect(v).toBeCloseTo(rms * Math.sign(stepped) * Math.abs(stepped) ** 0.7, 4);
    }
  });

  it('goes behind the norm and activation where it is told to, or else before them', async () => {
    const model = net();
    const features = await of(model);
    const behind = await applied(model, { resolution: 3, unit: 'one', after: 'activation' });
    expect(await of(behind.model)).toEqual(features.map((v) => Math.fround(Math.floor(Math.fround(v * 3)) / 3)));
    expect(behind.model.graph.node.find(({ name }) => name === 'act')?.input).toEqual(['a']);
    const before = await applied(model, { resolution: 3, unit: 'one' });
    expect(before.model.graph.node.find(({ name }) => name === 'act')?.input).not.toEqual(['a']);
  });

  it('leaves alone what it must, with a sentence', async () => {
    const model = net();
    const { skipped, changed } = await applied(model, { layers: ['*'], resolution: 3 });
    expect(changed.map(({ layer }) => layer)).toEqual(['first']);
    expect(skipped).toEqual([{ layer: 'second', text: 'its output is an output of the model' }]);
    const zero = await featureQuantization.apply(
      model,
      featureQuantization.options.parse({ layers: ['first'], resolution: 3 }),
      testContext({ calibration: [{ x: floats(new Float32Array(432), [4, 3, 6, 6]) }], reference: model }),
    );
    expect(zero.skipped).toEqual([{ layer: 'first', text: 'its features are all zero' }]);
    const quantized = makeModel({
      inputs: [makeValue('x', 'float32', ['N', 3, 6, 6])],
      outputs: [makeValue('q', 'uint8')],
      initializers: [weight('w1', [8, 3, 3, 3], 1), makeTensor('s', 'float32', [], Float32Array.of(0.1)), makeTensor('z', 'uint8', [], Uint8Array.of(3))], // prettier-ignore
      nodes: [makeNode('Conv', ['x', 'w1'], ['a'], {}, { name: 'first' }), makeNode('QuantizeLinear', ['a', 's', 'z'], ['q'])],
    }); // prettier-ignore
    expect((await applied(quantized, { resolution: 3 })).skipped[0]?.text).toMatch(/belongs before the quantizer/);
  });

  it.each([
    [{}, /nothing to do: give resolution/],
    [{ exponent: 0.5, nearest: true }, /nearest says how resolution rounds/],
    [{ exponent: 0 }, /exponent/],
    [{ resolution: -1 }, /resolution/],
    [{ resolution: 2, steps: 3 }, /steps/],
  ])('refuses %j', (given, message) => {
    const { error } = featureQuantization.options.safeParse(given);
    expect(String(error)).toMatch(message);
  });
});
