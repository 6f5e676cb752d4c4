import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { formatRoundings } from '../../../src/passes/quantize/format_rounding.ts';
import { formatQuantizer } from '../../../src/passes/quantize/to_format.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';
import { snr } from '../../helpers/quality.ts';

const images = [1, 2, 3].map((seed) => ({ x: floats(noise(seed, 32 * 192), [32, 3, 8, 8]) }));
const unseen = { x: floats(noise(77, 32 * 192), [32, 3, 8, 8]) };

const quantized = (options: object) =>
  formatQuantizer.apply(
    smallConvNet(),
    formatQuantizer.options.parse(options),
    testContext({ calibration: images, reference: smallConvNet() }),
  );

describe('FormatQuantizer’s rounding', () => {
  it.each(['ternary', 'nf4'])('makes %s nearer to float on unseen data, at both levels', async (format) => {
    const float = (await runModel(smallConvNet(), unseen)).y?.data as Float32Array;
    const qualities = async (options: object): Promise<number[]> => {
      const { model } = await quantized({ format, ...options });
      const at = (level: 'disabled' | 'all') => runModel(model, unseen, level);
      return [await at('disabled'), await at('all')].map(({ y }) => snr(float, y?.data as Float32Array));
    };
    const nearest = await qualities({});
    for (const rounding of Object.keys(formatRoundings).filter((name) => name !== 'nearest')) {
      const better = await qualities({ rounding, refit: rounding === 'descent' });
      for (const [i, quality] of better.entries()) expect(quality).toBeGreaterThan(nearest[i]! + 1);
    }
  });

  it('says by how much, and leaves a layer without moments at the nearest, and says why', async () => {
    const { changed } = await quantized({ format: 'int:bits=3', rounding: 'descent' });
    expect(changed.map(({ text }) => text).join()).toMatch(/its output \d+\.\d dB better than by the nearest/);
    const model = makeModel({
      opset: 17,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
      outputs: [makeValue('y', 'float32', ['N', 2, 9, 9])],
      initializers: [weight('w', [3, 2, 2, 2], 1)],
      nodes: [makeNode('ConvTranspose', ['x', 'w'], ['y'], {}, { name: 'up' })],
    });
    const apply = (rounding: string) =>
      formatQuantizer.apply(
        model,
        formatQuantizer.options.parse({ format: 'int4', rounding }),
        testContext({ calibration: images, reference: model }),
      );
    const [nearest, descent] = [await apply('nearest'), await apply('descent')];
    expect(descent.changed[0]?.text).toContain('to the nearest');
    const outputs = await Promise.all(
      [nearest, descent].map(async (one) => (await runModel(one.model, unseen)).y?.data),
    );
    expect(outputs[1]).toEqual(outputs[0]);
  });
});
