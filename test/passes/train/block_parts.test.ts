import type { Feeds } from '../../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { findBlocks } from '../../../src/passes/train/block/blocks.ts';
import { relaxedWeights } from '../../../src/passes/train/block/relaxed.ts';
import { drawMasks, draws } from '../../../src/passes/train/block/samples.ts';
import { blockGraph, type BlockPlan } from '../../../src/passes/train/block/step_graph.ts';
import { wantedInput } from '../../../src/passes/train/loss/mse.ts';
import { firstState, scalarFeeds } from '../../../src/passes/train/step.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { quantizedLayers } from '../../../src/passes/recover/sites.ts';
import { uniform } from '../../../src/util/uniform.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';

async function quantize(model: Model, calibration: readonly Feeds[], options: object = {}) {
  const context = testContext({ calibration, reference: model });
  const { model: nearest, twin } = await staticQuantizer.apply(model, staticQuantizer.options.parse(options), context);
  return { nearest, twin: twin!, context, layers: quantizedLayers(nearest, twin!).layers };
}

const image = { x: floats(noise(1, 4 * 192), [4, 3, 8, 8]) };

describe('findBlocks', () => {
  const conv = (name: string, from: string, to: string) =>
    makeNode('Conv', [from, `${name}.weight`], [to], {}, { name });
  /** A stem, two residual blocks of two and three layers, a pooling and a last layer. */
  const residual = makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('y', 'float32', ['N', 4, 1, 1])],
    initializers: ['stem', 'a1', 'a2', 'b1', 'b2', 'b3', 'last'].map((name, i) => weight(`${name}.weight`, [4, i === 0 ? 3 : 4, 1, 1], i)),
    nodes: [
      conv('stem', 'x', 's'),
      makeNode('Relu', ['s'], ['s_relu']),
      conv('a1', 's_relu', 'a'),
      conv('a2', 'a', 'aa'),
      makeNode('Add', ['aa', 's_relu'], ['a_sum']),
      makeNode('Relu', ['a_sum'], ['a_relu']),
      conv('b1', 'a_relu', 'b'),
      conv('b2', 'b', 'bb'),
      conv('b3', 'a_relu', 'c'),
      makeNode('Add', ['bb', 'c'], ['b_sum']),
      makeNode('GlobalAveragePool', ['b_sum'], ['p']),
      conv('last', 'p', 'y'),
    ],
  }); // prettier-ignore

  const found = async (o: { blocks: 'auto' | 'layer'; most: number }, model = residual) => {
    const { nearest, twin, context, layers } = await quantize(model, [image]);
    const { blocks, skipped } = findBlocks(nearest, twin, await context.shapes(nearest), layers, o);
    expect(skipped).toEqual([]);
    return blocks.map(({ layers: own, inputs, outputs }) => [own.map(({ name }) => name).join(), inputs.map(({ value }) => value).join(), outputs.map(({ twin: value }) => value).join()].join(' ')); // prettier-ignore
  };

  it('are what lies between values that carry everything: a Relu goes with what is before it, a pooling with what is behind', async () => {
    expect(await found({ blocks: 'auto', most: 5 })).toEqual([
      'stem x s_relu',
      'a1,a2 s_relu a_relu',
      'b1,b2,b3 a_relu b_sum',
      'last b_sum y',
    ]);
  });

  it('are single layers where there are more between two such values, or where that is asked for', async () => {
    expect(await found({ blocks: 'auto', most: 2 })).toEqual([
      'stem x s_relu',
      'a1,a2 s_relu a_relu',
      'b1 a_relu b',
      'b2 b bb',
      'b3 a_relu c',
      'last b_sum y',
    ]);
    expect(await found({ blocks: 'layer', most: 5 })).toEqual(['stem x s_relu', 'a1 s_relu a', 'a2 a aa', 'b1 a_relu b', 'b2 b bb', 'b3 a_relu c', 'last p y']); // prettier-ignore
  });

  it('take layers in a row together, in equal parts of at most three', async () => {
    expect(await found({ blocks: 'auto', most: 5 }, smallConvNet())).toEqual(['conv1,conv2 x r2', 'dw,fc r2 y']);
    expect(await found({ blocks: 'auto', most: 1 }, smallConvNet())).toHaveLength(4);
  });
});

describe('blockGraph', () => {
  it('has the gradient of its loss by every relaxed rounding and bias, checked by central differences', async () => {
    // Tanh has no kinks; activations of 16 bits are rounded so finely that a gradient straight through them is that of the loss.
    const model = makeModel({
      opset: 21,
      inputs: [makeValue('x', 'float32', ['N', 3, 4, 4])],
      outputs: [makeValue('y', 'float32', ['N', 4, 4, 4])],
      initializers: [
        weight('a.weight', [4, 3, 3, 3], 1),
        weight('a.bias', [4], 3),
        weight('b.weight', [4, 4, 1, 1], 2),
        makeTensor('b.bias', 'float32', [4], noise(4, 4)),
      ],
      nodes: [
        makeNode('Conv', ['x', 'a.weight', 'a.bias'], ['a'], { pads: [1, 1, 1, 1] }, { name: 'a' }),
        makeNode('Tanh', ['a'], ['t']),
        makeNode('Conv', ['t', 'b.weight', 'b.bias'], ['b'], {}, { name: 'b' }),
        makeNode('Add', ['b', 't'], ['y'], {}, { name: 'add' }),
      ],
    });
    const batch = { x: floats(noise(5, 3 * 48), [3, 3, 4, 4]) };
    const { nearest, context, layers } = await quantize(model, [batch], { bits_weights: 4, bits_activations: 16 });
    expect(layers).toHaveLength(2);
    const plan: BlockPlan = {
      weights: layers.map((layer) => relaxedWeights(layer, 0)),
      scales: new Set(),
      bias: true,
      mixed: false,
      inputs: new Set(['x']),
      power: new Map([['y', 0.5]]),
      channels: () => 4,
    };
    const made = await blockGraph(nearest, batch, plan, context);
    const { graph } = made;
    const target = floats(noise(6, 3 * 64), [3, 4, 4, 4]);
    const constants = {
      ...{ ...batch, [wantedInput('y')]: target, [made.beta]: floats(Float32Array.of(3), []) },
      ...scalarFeeds(graph, { lr: 0, step_size: 0, root: 1, lambda: 1 }),
    };
    const state = firstState(graph);
    const run = (at: Feeds) => context.compute(graph.model, { ...constants, ...at });
    const loss = async (at: Feeds) => (await run(at))[graph.reports.get('loss') as string]?.data[0] as number;
    const after = await run(state);
    const names = [...made.v.values(), ...[...made.biases.values()].map(({ name }) => name)];
    expect(names).toHaveLength(4);
    for (const [which, name] of names.entries()) {
      const [mean] = graph.slots.get(name) as readonly string[];
      // Adam's mean after a step from zero is a tenth of the gradient.
      const gradient = (after[graph.state.get(mean as string)?.next as string]?.data as Float32Array).map(
        (g) => 10 * g,
      );
      const input = graph.held.get(name) as string;
      const own = state[input]?.data as Float32Array;
      const way = noise(40 + which, own.length);
      const moved = (by: number): Feeds => ({ ...state, [input]: floats(own.map((v, i) => v + by * way[i]!), state[input]!.dims) }); // prettier-ignore
      // Along a random direction, by Richardson's rule.
      const slope = async (by: number) => ((await loss(moved(by))) - (await loss(moved(-by)))) / (2 * by);
      const [coarse, fine] = [await slope(0.04), await slope(0.02)];
      const expected = (4 * fine - coarse) / 3;
      const actual = gradient.reduce((sum, g, i) => sum + g * way[i]!, 0);
      // float32 losses give differences to about 1e-4 of the gradient's size, 16-bit roundings to 1e-3.
      const size = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0) * way.reduce((sum, d) => sum + d * d, 0));
      expect(size).toBeGreaterThan(1e-4);
      expect(Math.abs(actual - expected)).toBeLessThan(5e-3 * size);
    }
  });
});

describe('what a step is fed', () => {
  it('draws every sample once before one comes again', () => {
    const batches = draws(10, 4, uniform(3));
    const seen = Array.from({ length: 5 }, () => batches.next().value).flat();
    expect([...seen.slice(0, 10)].sort((a, b) => a - b)).toEqual([...seen.slice(10)].sort((a, b) => a - b));
    expect(new Set(seen.slice(0, 10)).size).toBe(10);
    expect(draws(2, 5, uniform(1)).next().value).toHaveLength(5);
  });

  it('takes elements of masks by their probability, each for itself', () => {
    const masks = [{ name: 'm', dims: [100, 101] }];
    const shareOf = (p: number) => {
      const data = drawMasks(masks, p, uniform(7)).m?.data as Uint8Array;
      // Neighbours in pairs, which share a draw.
      const both = Array.from({ length: 5050 }, (_, i) => data[2 * i]! * data[2 * i + 1]!).reduce((a, b) => a + b, 0) / 5050; // prettier-ignore
      return [data.reduce((a, b) => a + b, 0) / data.length, both] as const;
    };
    const [share, both] = shareOf(0.3);
    // Five deviations of a binomial of 10,100 and of 5,050 draws.
    expect(Math.abs(share - 0.3)).toBeLessThan(0.023);
    expect(Math.abs(both - 0.09)).toBeLessThan(0.02);
    expect(shareOf(0)).toEqual([0, 0]);
    expect(shareOf(1)).toEqual([1, 1]);
  });
});
