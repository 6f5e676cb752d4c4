import { globalPruner } from '../../../src/passes/prune/global.ts';
import { levelPruner } from '../../../src/passes/prune/level.ts';
import { sparseGptPruner } from '../../../src/passes/prune/sparsegpt.ts';
import { wandaPruner } from '../../../src/passes/prune/wanda.ts';
import { anyPass } from '../../../src/passes/pass.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { floatData } from '../../../src/graph/tensor.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';
import { snr } from '../../helpers/quality.ts';

const weightsOf = (model: Model, name: string): Float32Array => floatData(initializers(model.graph).get(name)!);
const zeros = (model: Model, name: string): number => weightsOf(model, name).filter((w) => w === 0).length;
// Channels of unlike size, as activations of trained networks have them: 1, 3 and 0.2.
const images = (seed: number): Feeds => ({
  x: floats(
    noise(seed, 32 * 192).map((v, i) => v * ([1, 3, 0.2][Math.floor(i / 64) % 3] as number)),
    [32, 3, 8, 8],
  ),
});
const calibration = [1, 2, 3].map(images);
const unseen = images(77);
const quality = async (expected: Model, actual: Model, feeds: Feeds): Promise<number> =>
  snr(
    (await runModel(expected, feeds)).y?.data as Float32Array,
    (await runModel(actual, feeds)).y?.data as Float32Array,
  );
const names = ['conv1.weight', 'conv2.weight', 'fc.weight'];
const levels = { levels: { 'dw.weight': 0, '*': 0.5 } };

describe('pruning by what the inputs are', () => {
  it.each([
    [
      'globally',
      globalPruner,
      [
        { sparsity: 0.5, refit: false },
        { sparsity: 0.3, refit: false },
      ],
    ],
    ['by Wanda', wandaPruner, [0.5, 0.3].map((share) => ({ levels: { '*': share }, refit: false }))],
  ] as const)('looks once at the data for all tries of a stage, %s', async (_, pass, [strong, weak]) => {
    const model = smallConvNet();
    const plain = testContext({ calibration });
    let looks = 0;
    const capture: typeof plain.capture = (...asked) => ((looks += 1), plain.capture(...asked));
    const context = testContext({ calibration, capture, cache: new Map<string, unknown>() });
    const own = anyPass(pass as never);
    await own.apply(model, own.options.parse(strong), context);
    const { model: second } = await own.apply(model, own.options.parse(weak), context);
    expect(looks).toBe(1);
    const { model: alone } = await own.apply(model, own.options.parse(weak), plain);
    for (const name of names) expect(weightsOf(second, name)).toEqual(weightsOf(alone, name));
  });

  it('keeps more of the output than magnitudes do at the same sparsity, on data it has not seen', async () => {
    const model = smallConvNet();
    const context = testContext({ calibration });
    const { model: level } = await levelPruner.apply(model, levels, context);
    const paper = { ...levels, refit: false };
    const byRow = wandaPruner.options.parse({ ...paper, scope: 'row' });
    const { model: wanda } = await wandaPruner.apply(model, byRow, context);
    const { model: updated } = await sparseGptPruner.apply(model, sparseGptPruner.options.parse(paper), context);
    for (const pruned of [level, wanda, updated]) expect(zeros(pruned, 'conv2.weight')).toBe(288);
    for (const pruned of [level, updated]) expect(names.map((n) => zeros(pruned, n))).toEqual([108, 288, 20]);
    // Wanda rounds for each output: half of 27 is 14 of each of the 8.
    expect(zeros(wanda, 'conv1.weight')).toBe(112);
    const [plain, byInputs, withUpdate] = await Promise.all(
      [level, wanda, updated].map((pruned) => quality(model, pruned, unseen)),
    );
    // 1 dB is a fifth less error, more than the choice of 96 images can give or take.
    expect(byInputs).toBeGreaterThan(plain! + 1);
    expect(withUpdate).toBeGreaterThan(byInputs! + 1);
  });

  it('keeps still more when all that is left is refitted together, with the same zeros', async () => {
    const model = smallConvNet();
    const context = testContext({ calibration });
    for (const pass of [wandaPruner, sparseGptPruner]) {
      const [plain, refitted] = await Promise.all(
        [false, true].map(async (refit) => {
          const options = pass.options.parse({ ...levels, refit });
          return (await pass.apply(model, options, context)).model;
        }),
      );
      expect(zeros(refitted!, 'conv2.weight')).toBe(288);
      expect(await quality(model, refitted!, unseen)).toBeGreaterThan((await quality(model, plain!, unseen)) + 1);
    }
  });

  it('makes up in the bias for what the means of the inputs lose', async () => {
    const model = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 8])],
      outputs: [makeValue('y', 'float32', ['N', 4])],
      initializers: [weight('w', [4, 8], 3), weight('b', [4], 5)],
      nodes: [makeNode('Gemm', ['x', 'w', 'b'], ['y'], { transB: 1 }, { name: 'layer' })],
    });
    // Inputs that are constant: only their means matter, so the bias alone can make up for any zeros.
    const feeds = {
      x: floats(
        Float32Array.from({ length: 32 * 8 }, (_, i) => 1 + (i % 8)),
        [32, 8],
      ),
    };
    const context = testContext({ calibration: [feeds] });
    const options = wandaPruner.options.parse({ levels: { '*': 0.75 } });
    const { model: pruned } = await wandaPruner.apply(model, options, context);
    expect(zeros(pruned, 'w')).toBe(24);
    // Rounding of float32 sums of eight products: about 120 dB.
    expect(await quality(model, pruned, feeds)).toBeGreaterThan(100);
  });

  it('shares one sparsity out over layers by what they lose', async () => {
    const model = smallConvNet();
    const context = testContext({ calibration });
    const of = async (more: object): Promise<Model> =>
      (await globalPruner.apply(model, globalPruner.options.parse({ sparsity: 0.5, ...more }), context)).model;
    const names = ['conv1.weight', 'dw.weight', 'conv2.weight', 'fc.weight'];
    const total = names.reduce((sum, name) => sum + weightsOf(model, name).length, 0);
    const magnitude = await of({ criterion: 'magnitude', refit: false });
    expect(names.reduce((sum, name) => sum + zeros(magnitude, name), 0)).toBe(Math.round(total / 2));
    const [wanda, obs, refitted] = [
      await of({ criterion: 'wanda', refit: false }),
      await of({ criterion: 'obs', refit: false }),
      await of({}),
    ];
    // The share of each layer is rounded by itself when it is refitted.
    expect(Math.abs(names.reduce((sum, name) => sum + zeros(refitted, name), 0) - total / 2)).toBeLessThan(4);
    const level = (await levelPruner.apply(model, { levels: { '*': 0.5 } }, context)).model;
    const plain = await quality(model, level, unseen);
    for (const pruned of [wanda, obs, refitted])
      expect(await quality(model, pruned, unseen)).toBeGreaterThan(plain + 1);
  });

  it.each([
    ['MatMul', {}, [16, 6]],
    ['Gemm', {}, [16, 6]],
    ['Gemm', { transB: 1 }, [6, 16]],
  ] as const)('knows which axis of a %s %j is its input', async (op, attributes, dims) => {
    const model = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 16])],
      outputs: [makeValue('y', 'float32', ['N', 6])],
      initializers: [weight('w', dims, 3)],
      nodes: [makeNode(op, ['x', 'w'], ['y'], { ...attributes }, { name: 'layer' })],
    });
    // Inputs 0, 2, 4 … are dead: only their weights can go without loss, and there are exactly half.
    const feeds = (seed: number): Feeds => ({
      x: floats(
        noise(seed, 64 * 16).map((v, i) => (i % 2 === 0 ? 0 : v)),
        [64, 16],
      ),
    });
    const context = testContext({ calibration: [feeds(1)] });
    const half = { levels: { '*': 0.5 }, refit: false };
    for (const pruned of [await wandaPruner.apply(model, wandaPruner.options.parse(half), context)]) {
      expect(zeros(pruned.model, 'w')).toBe(48);
      expect((await runModel(pruned.model, feeds(9))).y).toEqual((await runModel(model, feeds(9))).y);
    }
    const updated = await sparseGptPruner.apply(model, sparseGptPruner.options.parse(half), context);
    expect(zeros(updated.model, 'w')).toBe(48);
    const level = await levelPruner.apply(model, { levels: { '*': 0.5 } }, context);
    expect(await quality(model, updated.model, feeds(9))).toBeGreaterThan(await quality(model, level.model, feeds(9)));
  });

  it('leaves weights alone whose inputs it cannot look at, and says why', async () => {
    const model = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', [4, 2])],
      outputs: [makeValue('y', 'float32', [3, 2])],
      initializers: [weight('w', [3, 4], 3)],
      nodes: [makeNode('MatMul', ['w', 'x'], ['y'], {}, { name: 'left' })],
    });
    const context = testContext({ calibration: [] });
    const result = await wandaPruner.apply(model, wandaPruner.options.parse({ levels: { '*': 0.5 } }), context);
    expect(result.changed).toEqual([]);
    expect(result.skipped).toMatchObject([
      { layer: 'left', text: expect.stringContaining('second operand') as string },
    ]);
    expect(zeros(result.model, 'w')).toBe(0);
  });

  it('leaves a weight alone that two layers read in different orientations', async () => {
    const model = makeModel({
      opset: 17,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 6])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('w', [6, 6], 1), weight('v', [6, 6], 2)],
      nodes: [
        makeNode('Gemm', ['x', 'w'], ['h'], {}, { name: 'along' }),
        makeNode('Gemm', ['h', 'w'], ['g'], { transB: 1 }, { name: 'across' }),
        makeNode('Gemm', ['g', 'v'], ['k'], {}, { name: 'once' }),
        makeNode('Gemm', ['k', 'v'], ['y'], {}, { name: 'twice' }),
      ],
    });
    const context = testContext({ calibration: [{ x: floats(noise(3, 192), [32, 6]) }] });
    for (const pass of [anyPass(wandaPruner), anyPass(sparseGptPruner)])
      for (const refit of [true, false]) {
        const options = pass.options.parse({ levels: { '*': 0.5 }, refit });
        const { model: pruned, skipped } = await pass.apply(model, options, context);
        expect(skipped).toEqual([{ layer: 'along', text: 'w: "along", "across" read it in different orientations' }]);
        expect([zeros(pruned, 'w'), zeros(pruned, 'v')]).toEqual([0, 18]);
      }
  });

  it('leaves a layer whole whose inputs are not finite', async () => {
    const model = makeModel({
      opset: 17,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 6])],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('w', [6, 6], 1), weight('v', [6, 6], 2), weight('zero', [1], 3, 0)],
      nodes: [
        makeNode('Gemm', ['x', 'w'], ['h'], {}, { name: 'sound' }),
        makeNode('Div', ['h', 'zero'], ['infinite'], {}, { name: 'divide' }),
        makeNode('Gemm', ['infinite', 'v'], ['y'], {}, { name: 'unsound' }),
      ],
    });
    const context = testContext({ calibration: [{ x: floats(noise(3, 192), [32, 6]) }] });
    const options = wandaPruner.options.parse({ levels: { '*': 0.5 } });
    const { model: pruned, skipped } = await wandaPruner.apply(model, options, context);
    expect([zeros(pruned, 'w'), zeros(pruned, 'v')]).toEqual([18, 0]);
    expect(skipped.map(({ layer }) => layer)).toEqual(['unsound']);
  });
});
