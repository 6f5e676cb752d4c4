import { biasCorrection } from '../../../src/passes/recover/bias_correction.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import type { Feeds } from '../../../src/data/types.ts';
import type { Model } from '../../../src/graph/model.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';
import { optimizedOps } from '../../helpers/quality.ts';

const calibration = [1, 2].map((seed): Feeds => ({ x: floats(noise(seed, 32 * 192), [32, 3, 8, 8]) }));

/** Mean output of each class over the calibration data. */
async function means(model: Model): Promise<number[]> {
  const sums = [0, 0, 0, 0, 0];
  for (const feeds of calibration)
    (await runModel(model, feeds)).y?.data.forEach(
      (v, i) => void (sums[i % 5] = (sums[i % 5] as number) + Number(v) / 64),
    );
  return sums;
}

describe('recover/bias_correction', () => {
  const float = smallConvNet();
  const quantized = async () => {
    const context = testContext({ calibration, reference: float });
    return staticQuantizer.apply(float, staticQuantizer.options.parse({ bits_weights: 4 }), context);
  };
  const shift = async (model: Model): Promise<number> => {
    const [wanted, got] = [await means(float), await means(model)];
    return Math.max(...wanted.map((w, c) => Math.abs(w - (got[c] as number))));
  };

  it.each([
    // While it corrects, layers compute in float between rounded values; integer kernels round a few values the other way.
    ['empirical', 0.03],
    // The analytic one knows the float means only, not what earlier layers do to them: a part remains.
    ['analytic', 0.5],
  ])('makes the mean error of the outputs vanish (%s)', async (method, share) => {
    const { model, twin } = await quantized();
    const context = testContext({ calibration, reference: float, twin: twin! });
    const { model: corrected, changed } = await biasCorrection.apply(
      model,
      biasCorrection.options.parse({ method }),
      context,
    );
    expect(changed.map((note) => note.layer)).toEqual(['conv1', 'conv2', 'dw', 'fc']);
    expect(await shift(corrected)).toBeLessThan((await shift(model)) * share);
    expect(await optimizedOps(corrected)).toEqual(await optimizedOps(model));
  });

  it('says that it needs a quantized model', async () => {
    const { notes } = await biasCorrection.apply(float, biasCorrection.options.parse({}), testContext());
    expect(notes).toEqual(['nothing is quantized yet: put this after a quantizer']);
  });
});
