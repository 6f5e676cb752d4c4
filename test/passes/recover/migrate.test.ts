import { migrate } from '../../../src/passes/recover/migrate.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';
import { snr } from '../../helpers/quality.ts';

const width = 16;
const tokens = (seed: number): Feeds => ({ x: floats(noise(seed, 8 * 12 * width), [8, 12, width]) });

/** Factors of which two are 60 times the others: the outlier channels of trained transformers. */
const gamma = Float32Array.from({ length: width }, (_, c) => (c === 3 || c === 9 ? 60 : 1));

/** LayerNormalization (or its factor and term as Mul and Add) read by two products. */
function block(norm: 'whole' | 'parts', tail: 'products' | 'residual' = 'products'): Model {
  return makeModel({
    opset: 17,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 12, width])],
    outputs: [makeValue('y', 'float32')],
    initializers: [
      makeTensor('gamma', 'float32', [width], gamma),
      weight('beta', [width], 2),
      weight('q', [width, 8], 3),
      weight('k', [width, 8], 4),
    ],
    nodes: [
      ...(norm === 'whole'
        ? [makeNode('LayerNormalization', ['x', 'gamma', 'beta'], ['n'], {}, { name: 'norm' })]
        : [
            makeNode('Mul', ['x', 'gamma'], ['m'], {}, { name: 'factor' }),
            makeNode('Add', ['m', 'beta'], ['n'], {}, { name: 'norm' }),
          ]),
      makeNode('MatMul', ['n', 'q'], ['nq'], {}, { name: 'query' }),
      makeNode('MatMul', ['n', 'k'], ['nk'], {}, { name: 'key' }),
      makeNode('Add', ['nq', 'nk'], [tail === 'products' ? 'y' : 's']),
      ...(tail === 'residual'
        ? [makeNode('ReduceMean', ['n'], ['mean'], { axes: [2] }), makeNode('Add', ['s', 'mean'], ['y'])]
        : []),
    ],
  });
}

const smoothed = (model: Model) =>
  migrate.apply(model, migrate.options.parse({}), testContext({ calibration: [tokens(5)], reference: model }));

const output = async (model: Model, feeds: Feeds) => (await runModel(model, feeds)).y?.data as Float32Array;

describe('recover/migrate', () => {
  it.each(['whole', 'parts'] as const)('keeps the function of a normalization (%s) and its readers', async (norm) => {
    const model = block(norm);
    const { model: after, changed } = await smoothed(model);
    expect(changed.map((note) => note.layer)).toEqual(['norm']);
    expect(changed[0]?.text).toContain('for "query", "key"');
    const [x, y] = [await output(model, tokens(7)), await output(after, tokens(7))];
    const largest = x.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    expect(x.reduce((m, v, i) => Math.max(m, Math.abs(v - y[i]!)), 0) / largest).toBeLessThan(1e-5);
  });

  it('brings the int8 model of a net with outlier channels closer to float', async () => {
    const model = block('whole');
    // Only the small channels are looked at: the large ones are exact enough either way.
    const small = makeModel({
      opset: 17,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 12, width])],
      outputs: [makeValue('y', 'float32')],
      initializers: model.graph.initializer.map((tensor) =>
        tensor.name === 'q' || tensor.name === 'k'
          ? makeTensor(
              tensor.name,
              'float32',
              [width, 8],
              noise(9, width * 8, 0.3).map((w, i) => w / gamma[Math.floor(i / 8)]!),
            )
          : tensor,
      ),
      nodes: model.graph.node,
    });
    const { model: after } = await smoothed(small);
    const quality = async (given: Model): Promise<number> => {
      const context = testContext({ calibration: [tokens(5), tokens(6)], reference: given });
      const { model: int8 } = await staticQuantizer.apply(given, staticQuantizer.options.parse({}), context);
      return snr(await output(small, tokens(7)), await output(int8, tokens(7)));
    };
    // A range 60 times too wide costs the other channels almost 6 of 8 bits; smoothing halves that in bits at α = 0.5.
    expect(await quality(after)).toBeGreaterThan((await quality(small)) + 10);
  });

  it('leaves a normalization alone that something else reads too, with the reason', async () => {
    const { changed, skipped } = await smoothed(block('whole', 'residual'));
    expect(changed).toEqual([]);
    expect(skipped).toEqual([{ layer: 'norm', text: 'ReduceMean "mean_ReduceMean" reads it too' }]);
  });
});
