import type { Feeds } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import type { Model } from '../../src/graph/model.ts';
import { errorSums } from '../../src/numerics/error.ts';
import { passes } from '../../src/passes/index.ts';
import type { Pass } from '../../src/passes/pass.ts';
import { given } from '../../src/util/must.ts';
import { floats, runModel, testContext } from '../helpers/context.ts';
import { noise, weight } from '../helpers/models.ts';

/** A bias one of whose entries can never win. */
function never(name: string, count: number, seed: number) {
  const data = noise(seed, count, 0.3);
  data[1] = -Infinity;
  return makeTensor(name, 'float32', [count], data);
}

const conv = (x: string, name: string, bias: string[] = []) =>
  makeNode('Conv', [x, `${name}.w`, ...bias], [name], { pads: [1, 1, 1, 1] }, { name });

/** x → first → Relu → second → Relu → masked (a channel is −∞) → Softmax → third → Relu → mean → last (a class is −∞) → y. */
const model = makeModel({
  opset: 17,
  ir: 8,
  inputs: [makeValue('x', 'float32', ['N', 3, 6, 6])],
  outputs: ['y', 'z'].map((name) => makeValue(name, 'float32', ['N', 4])),
  initializers: [
    weight('first.w', [8, 3, 3, 3], 1),
    weight('second.w', [8, 8, 3, 3], 2),
    weight('masked.w', [6, 8, 3, 3], 3),
    never('masked.b', 6, 4),
    weight('third.w', [8, 6, 3, 3], 5),
    weight('third.b', [8], 6),
    weight('last.w', [4, 8], 7),
    never('last.b', 4, 8),
    weight('reads.w', [4, 4], 10),
    ...[-1, 1].map((v) => makeTensor(`bound${v}`, 'float32', [], Float32Array.of(v))),
  ],
  nodes: [
    conv('x', 'first'),
    makeNode('Relu', ['first'], ['r1']),
    conv('r1', 'second'),
    makeNode('Relu', ['second'], ['r2']),
    conv('r2', 'masked', ['masked.b']),
    makeNode('Softmax', ['masked'], ['s'], { axis: 1 }),
    conv('s', 'third', ['third.b']),
    makeNode('Relu', ['third'], ['r3']),
    makeNode('GlobalAveragePool', ['r3'], ['g']),
    makeNode('Flatten', ['g'], ['f']),
    makeNode('Gemm', ['f', 'last.w', 'last.b'], ['y'], { transB: 1 }, { name: 'last' }),
    makeNode('MatMul', ['y', 'reads.w'], ['m'], {}, { name: 'reads' }),
    makeNode('Clip', ['m', 'bound-1', 'bound1'], ['z']),
  ],
});
const feeds: Feeds = { x: floats(noise(9, 8 * 108), [8, 3, 6, 6]) };
const passOf = (name: string): Pass =>
  given(
    passes.find((pass) => pass.classes[0] === name),
    name,
  );
const context = testContext({
  calibration: [feeds],
  reference: model,
  measure: async () => ({ metrics: [{ name: 'sqnr', value: 10, unit: 'dB', better: 'higher', drop: 1 } as never] }),
});

/** Where the outputs are finite. */
async function finite(of: Model): Promise<boolean[]> {
  const { y, z } = await runModel(of, feeds);
  return [y, z].flatMap((output) => [...(output!.data as Float32Array)].map(Number.isFinite));
}

// A weight of zero times infinity would be NaN: "reads" is not for those that do not look.
const some = ['first.w', 'second.w', 'masked.w', 'third.w', 'last.w'];
const ranked = { weights: some, desired_sparsity: 0.5, group_type: 'Filters' };
/** Passes, and a layer of which each says that its values are not finite; undefined where it needs none of them. */
const cases: [string, object, string | undefined][] = [
  ['CrossLayerEqualization', {}, 'second'],
  ['CrossLayerEqualization', { method: 'range' }, 'third'],
  ['BiasAbsorption', {}, undefined],
  ['WeightOnlyQuantizer', { bits_weights: 4, method: 'gptq' }, undefined],
  ['Reestimation', {}, 'last'],
  ['WandaPruner', { levels: { '*': 0.5 } }, 'reads'],
  ['WandaPruner', { levels: { '*': 0.5 }, refit: false }, 'reads'],
  ['SparseGptPruner', { levels: { '*': 0.5 } }, 'reads'],
  ['SparseGptPruner', { levels: { '*': 0.5 }, refit: false }, 'reads'],
  ['GlobalPruner', { sparsity: 0.5 }, 'reads'],
  ['GlobalPruner', { sparsity: 0.5, refit: false }, 'reads'],
  ['ChannelPruner', { levels: { '*': 0.5 } }, 'last'],
  ['ChannelPruner', { budget: { macs: 0.7 } }, 'last'],
  ['ChannelPruner', { levels: { '*': 0.5 }, criterion: 'apoz' }, 'last'],
  ['ActivationAPoZRankedFilterPruner', ranked, 'last'],
  ['ActivationMeanRankedFilterPruner', ranked, 'last'],
  ['FMReconstructionChannelPruner', { ...ranked, weights: ['*'], group_type: 'Channels' }, 'reads'],
  ['SqnrAllocator', { budget: { weights: 5 } }, undefined],
  ['SqnrAllocator', { budget: { weights: 5 }, rounding: 'descent' }, undefined],
  ['SensitivityAllocator', { budget: { weights: 5 }, rounding: 'descent' }, undefined],
];

it.each(cases)('%s %j minds values that are not finite only where they are', async (name, options, layer) => {
  const pass = passOf(name);
  const { model: result, changed, skipped } = await pass.apply(model, pass.options.parse(options), context);
  const notes = [...changed, ...skipped];
  expect(changed.length).toBeGreaterThan(0);
  if (layer !== undefined)
    expect(
      notes
        .filter((note) => note.layer === layer)
        .map(({ text }) => text)
        .join(),
    ).toMatch(/not finite on the cal/);
  expect(JSON.stringify(notes)).not.toContain('NaN');
  expect(await finite(result)).toEqual(await finite(model));
});

it('SmoothQuant leaves a normalization alone whose values are not finite', async () => {
  const odd = makeModel({
    opset: 17,
    inputs: [makeValue('x', 'float32', ['N', 4])],
    outputs: ['y', 'z'].map((name) => makeValue(name, 'float32', ['N', 3])),
    initializers: [
      weight('gamma', [4], 1),
      never('beta', 4, 2),
      weight('delta', [4], 3),
      weight('w', [4, 3], 4),
      weight('v', [4, 3], 5),
    ],
    nodes: [
      makeNode('LayerNormalization', ['x', 'gamma', 'beta'], ['n'], {}, { name: 'odd' }),
      makeNode('MatMul', ['n', 'w'], ['y']),
      makeNode('LayerNormalization', ['x', 'delta'], ['m'], {}, { name: 'sound' }),
      makeNode('MatMul', ['m', 'v'], ['z']),
    ],
  });
  const ctx = testContext({ calibration: [{ x: floats(noise(9, 32), [8, 4]) }], reference: odd });
  const pass = passOf('SmoothQuant');
  const { changed, skipped } = await pass.apply(odd, pass.options.parse({ alpha: 0.5 }), ctx);
  expect(changed.map(({ layer }) => layer)).toEqual(['sound']);
  expect(skipped).toEqual([{ layer: 'odd', text: 'left alone: "n" is not finite on the calibration data' }]);
});

it('an infinity that is the same in both is no error', () => {
  const sums = errorSums(Float32Array.of(1, -Infinity, 2), Float32Array.of(1, -Infinity, 3));
  expect(sums).toEqual({ count: 2, signal: 5, noise: 1, dot: 7, power: 10, worst: 1 });
  expect(errorSums(Float32Array.of(Infinity), Float32Array.of(-Infinity)).noise).toBe(Infinity);
});
