import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { weightsOnlyQuantizer } from '../../../src/passes/quantize/weights_only.ts';
import { awq } from '../../../src/passes/recover/awq.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';
import { snr } from '../../helpers/quality.ts';

const width = 32;
const tokens = (seed: number): Feeds => ({ x: floats(noise(seed, 8 * 12 * width), [8, 12, width]) });

/** Three channels carry most of the signal; weights are alike. */
const gamma = Float32Array.from({ length: width }, (_, c) => (c % 11 === 3 ? 40 : 1));

const net = (): Model =>
  makeModel({
    opset: 17,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 12, width])],
    outputs: [makeValue('y', 'float32')],
    initializers: [makeTensor('gamma', 'float32', [width], gamma), weight('w', [width, 16], 3)],
    nodes: [
      makeNode('LayerNormalization', ['x', 'gamma'], ['n'], {}, { name: 'norm' }),
      makeNode('MatMul', ['n', 'w'], ['y'], {}, { name: 'product' }),
    ],
  });

const context = (model: Model) => testContext({ calibration: [tokens(5), tokens(6)], reference: model });
const output = async (model: Model, level?: 'disabled' | 'all') =>
  (await runModel(model, tokens(7), level)).y?.data as Float32Array;

const w4 = async (model: Model): Promise<Model> => {
  const options = weightsOnlyQuantizer.options.parse({ bits_weights: 4, block_size: 32, weights_symmetric: false });
  return (await weightsOnlyQuantizer.apply(model, options, context(model))).model;
};

describe('recover/awq', () => {
  it('keeps the function', async () => {
    const model = net();
    const { model: after, changed } = await awq.apply(model, awq.options.parse({}), context(model));
    expect(changed.map(({ layer }) => layer)).toEqual(['norm']);
    // Rounding of scales to float32, as in SmoothQuant's test.
    for (const level of ['disabled', 'all'] as const)
      expect(snr(await output(model, level), await output(after, level))).toBeGreaterThan(110);
  });

  it('brings 4-bit weights closer to float where few channels are large, about as much as it says', async () => {
    const model = net();
    const { model: after, changed } = await awq.apply(model, awq.options.parse({}), context(model));
    const float = await output(model, 'disabled');
    const [plain, scaled] = [await output(await w4(model), 'disabled'), await output(await w4(after), 'disabled')];
    const gain = snr(float, scaled) - snr(float, plain);
    const said = Number(/error ([\d.]+) dB/.exec(changed[0]?.text ?? '')?.[1]);
    expect(said).toBeGreaterThan(3);
    // Errors of 32 weights are not quite independent.
    expect(Math.abs(gain - said)).toBeLessThan(2.5);
  });
});
