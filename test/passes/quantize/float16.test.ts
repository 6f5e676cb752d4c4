import { edit } from '../../../src/graph/edit.ts';
import { encodeModel, type Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { makeTensor, typeOf } from '../../../src/graph/tensor.ts';
import { float16Quantizer } from '../../../src/passes/quantize/float16.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';
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

  it('leaves float32 what float16 cannot hold, and says so', async () => {
    const data = noise(5, 576);
    data[7] = 70000;
    const large = edit(smallConvNet(), (d) =>
      d.setInitializer(makeTensor('conv2.weight', 'float32', [8, 8, 3, 3], data)),
    );
    const { skipped, model } = await halved(large);
    expect(skipped).toEqual([{ layer: 'conv2', text: "conv2.weight: holds 70000, beyond float16's 65504" }]);
    expect(typeOf(initializers(model.graph).get('conv2.weight') as never)).toBe('float32');
  });

  it('says how many weights became zero', async () => {
    const data = noise(5, 576).map((w, i) => (i < 3 ? 1e-9 : w));
    const tiny = edit(smallConvNet(), (d) =>
      d.setInitializer(makeTensor('conv2.weight', 'float32', [8, 8, 3, 3], data)),
    );
    expect((await halved(tiny)).changed[1]?.text).toContain('(3 of 576 too small: now 0)');
  });

  it('leaves layers in float32 where the schedule says so', async () => {
    const { skipped, changed } = await halved(smallConvNet(), { overrides: { 'op:Conv': { bits_weights: 'float' } } });
    expect(skipped.map((s) => s.layer)).toEqual(['conv1', 'conv2', 'dw']);
    expect(changed.map((c) => c.layer)).toEqual(['fc']);
  });
});
