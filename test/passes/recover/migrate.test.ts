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

const smoothed = (model: Model, options: object = { alpha: 0.5 }) =>
  migrate.apply(
    model,
    migrate.options.parse(options),
    testContext({ calibration: [tokens(5), tokens(6)], reference: model }),
  );

const output = async (model: Model, feeds: Feeds, level?: 'disabled' | 'all') =>
  (await runModel(model, feeds, level)).y?.data as Float32Array;

async function sameFunction(before: Model, after: Model): Promise<void> {
  for (const level of ['disabled', 'all'] as const)
    // Scales and their inverses are rounded to float32, 6e-8 each: 1e-6 of the signal is 120 dB.
    expect(snr(await output(before, tokens(7), level), await output(after, tokens(7), level))).toBeGreaterThan(110);
}

const int8 = async (given: Model): Promise<Model> => {
  const context = testContext({ calibration: [tokens(5), tokens(6)], reference: given });
  return (await staticQuantizer.apply(given, staticQuantizer.options.parse({}), context)).model;
};

/** `block` with the weights of its large channels as much smaller: only the small channels are looked at, the large ones are exact enough either way. */
function outliers(tail: 'products' | 'residual'): Model {
  const model = block('whole', tail);
  return makeModel({
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
}

describe('recover/migrate', () => {
  it.each(['whole', 'parts'] as const)('keeps the function of a normalization (%s) and its readers', async (norm) => {
    const model = block(norm);
    const { model: after, changed } = await smoothed(model);
    expect(changed.map((note) => note.layer)).toEqual(['norm']);
    expect(changed[0]?.text).toContain('for "query", "key"');
    expect(after.graph.node).toHaveLength(model.graph.node.length);
    await sameFunction(model, after);
  });

  it.each(['products', 'residual'] as const)(
    'brings the int8 model of a net with outlier channels closer to float (%s)',
    async (tail) => {
      const model = outliers(tail);
      const { model: after, changed } = await smoothed(model, {});
      expect(changed.map((note) => note.layer)).toEqual(['norm']);
      // A range 60 times too wide costs the other channels almost 6 of 8 bits, 36 dB; half of that is little to ask for.
      const before = snr(await output(model, tokens(7)), await output(await int8(model), tokens(7)));
      expect(snr(await output(model, tokens(7)), await output(await int8(after), tokens(7)))).toBeGreaterThan(
        before + 15,
      );
    },
  );

  it('divides by a Mul where a residual reads the normalization too, or an activation stands between', async () => {
    const model = outliers('residual');
    const { model: after, changed } = await smoothed(model, {});
    expect(changed[0]?.text).toContain('by a Mul (ReduceMean "mean_ReduceMean" reads it too)');
    const added = after.graph.node.filter(({ op_type }) => op_type === 'Mul');
    expect(added.map(({ input }) => input[0])).toEqual(['n']);
    await sameFunction(model, after);
    const { changed: none, skipped } = await smoothed(model, { insert: false });
    expect(none).toEqual([]);
    expect(skipped).toEqual([{ layer: 'norm', text: 'ReduceMean "mean_ReduceMean" reads it too' }]);
  });

  it('puts no Mul in for channels that are even', async () => {
    const model = makeModel({
      opset: 17,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 12, width])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('w', [width, 8], 3)],
      nodes: [makeNode('Tanh', ['x'], ['t'], {}, { name: 'tanh' }), makeNode('MatMul', ['t', 'w'], ['y'])],
    });
    const { model: after, skipped } = await smoothed(model, {});
    expect(after.graph.node).toHaveLength(2);
    expect(skipped.map(({ layer }) => layer)).toEqual(['tanh']);
  });

  it('says which normalizations no product reads, and leaves weights alone that others read', async () => {
    const model = makeModel({
      opset: 17,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 12, width])],
      outputs: [makeValue('y', 'float32')],
      initializers: [makeTensor('gamma', 'float32', [width], gamma), weight('w', [width, width], 3)],
      nodes: [
        makeNode('LayerNormalization', ['x', 'gamma'], ['n'], {}, { name: 'norm' }),
        makeNode('MatMul', ['n', 'w'], ['m'], {}, { name: 'one' }),
        makeNode('MatMul', ['m', 'w'], ['o'], {}, { name: 'two' }),
        makeNode('LayerNormalization', ['o', 'gamma'], ['y'], {}, { name: 'last' }),
      ],
    });
    const { model: after, skipped } = await smoothed(model);
    expect(after.graph.initializer).toEqual(model.graph.initializer);
    expect(skipped).toEqual([
      { layer: 'norm', text: 'the weight of "one" is read by others too' },
      { layer: 'one', text: 'the weight of "two" is read by others too' },
      { layer: 'last', text: 'no product with constant weights reads it' },
    ]);
  });

  it.each([0, 1])('reads weights of a Gemm with transB = %s', async (transB) => {
    const model = makeModel({
      opset: 17,
      ir: 8,
      inputs: [makeValue('x', 'float32', [96, width])],
      outputs: [makeValue('y', 'float32')],
      initializers: [
        makeTensor('gamma', 'float32', [width], gamma),
        weight('w', transB ? [8, width] : [width, 8], 3),
        weight('b', [8], 4),
      ],
      nodes: [
        makeNode('Mul', ['x', 'gamma'], ['n'], {}, { name: 'factor' }),
        makeNode('Gemm', ['n', 'w', 'b'], ['y'], { transB }, { name: 'product' }),
      ],
    });
    const rows = (seed: number): Feeds => ({ x: floats(noise(seed, 96 * width), [96, width]) });
    const ctx = testContext({ calibration: [rows(5)], reference: model });
    const { model: after, changed } = await migrate.apply(model, migrate.options.parse({ alpha: 0.5 }), ctx);
    expect(changed).toHaveLength(1);
    expect(snr(await output(model, rows(7)), await output(after, rows(7)))).toBeGreaterThan(110);
  });
});
