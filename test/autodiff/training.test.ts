import { buildTraining, trainingOpset, type TrainingPlan } from '../../src/autodiff/training_graph.ts';
import type { Feeds, Tensor } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { crossEntropy, rowsInput, sharesInput } from '../../src/passes/train/loss/cross_entropy.ts';
import { adam, adamScalars } from '../../src/passes/train/optimizer/adam.ts';
import { sgd } from '../../src/passes/train/optimizer/sgd.ts';
import { openTrainer, type Trainer } from './trainer.ts';
import { floats, testContext } from '../helpers/context.ts';
import { noise, weight } from '../helpers/models.ts';

const classes = 3;

/** Conv, BatchNormalization, Tanh, a pool, a residual addition, Gemm: smooth, so that levels may be compared exactly. */
function network(): Model {
  return makeModel({
    opset: trainingOpset,
    inputs: [makeValue('x', 'float32', ['N', 2, 8, 8])],
    outputs: [makeValue('y', 'float32', ['N', classes])],
    initializers: [
      weight('w1', [4, 2, 3, 3], 1), weight('scale', [4], 2, 1), weight('shift', [4], 3), makeTensor('mean', 'float32', [4], new Float32Array(4)),
      makeTensor('variance', 'float32', [4], new Float32Array(4).fill(1)), weight('w2', [4, 1, 3, 3], 4), weight('b2', [4], 5), weight('w3', [classes, 4], 6), weight('b3', [classes], 7),
    ],
    nodes: [
      makeNode('Conv', ['x', 'w1'], ['c1'], { pads: [1, 1, 1, 1] }),
      makeNode('BatchNormalization', ['c1', 'scale', 'shift', 'mean', 'variance'], ['n1']),
      makeNode('Tanh', ['n1'], ['t1']),
      makeNode('Conv', ['t1', 'w2', 'b2'], ['c2'], { pads: [1, 1, 1, 1], group: 4 }),
      makeNode('Add', ['c2', 't1'], ['a2']),
      makeNode('AveragePool', ['a2'], ['p2'], { kernel_shape: [2, 2], strides: [2, 2] }),
      makeNode('GlobalAveragePool', ['p2'], ['g2']),
      makeNode('Flatten', ['g2'], ['f2']),
      makeNode('Gemm', ['f2', 'w3', 'b3'], ['y'], { transB: 1 }),
    ],
  }); // prettier-ignore
}
const trainable = ['w1', 'scale', 'shift', 'w2', 'b2', 'w3', 'b3'];

/** Images whose class shows in their mean: what can be learned. */
function batch(seed: number, size: number): Feeds {
  const data = noise(seed, size * 128, 0.5);
  const shares = new Float32Array(size * classes);
  for (let i = 0; i < size; i++) {
    const label = (i + seed) % classes;
    shares[i * classes + label] = 1;
    for (let j = 0; j < 64; j++) data[i * 128 + j]! += label - 1;
  }
  return { x: floats(data, [size, 2, 8, 8]), [sharesInput]: floats(shares, [size, classes]), [rowsInput]: floats(new Float32Array(size).fill(1), [size, 1]) }; // prettier-ignore
}

async function trainerOf(
  size: number,
  more: Partial<TrainingPlan> = {},
  optimization: 'all' | 'disabled' = 'all',
): Promise<Trainer> {
  const model = network();
  const shapes = await testContext({ calibration: [{ x: batch(1, size)['x']! }] }).shapes(model);
  const plan: TrainingPlan = {
    trainable,
    loss: crossEntropy(),
    optimizer: sgd({ momentum: 0.9 }),
    batchNorm: 'train',
    ...more,
  };
  return openTrainer(buildTraining(model, shapes, plan), { threads: 1, optimization });
}

const numbers = (tensor: Tensor | undefined): number[] => Array.from(tensor!.data as Float32Array);
const distance = (a: Trainer, b: Trainer): number =>
  Math.max(...[...a.weights()].flatMap(([name, tensor]) => numbers(tensor).map((v, i) => Math.abs(v - numbers(b.weights().get(name))[i]!)))); // prettier-ignore

describe('a training step', () => {
  it.each([
    ['SGD', sgd({ momentum: 0.9, nesterov: true, weight_decay: 1e-4 }), (_: number) => ({ lr: 0.2 })],
    ['Adam', adam(), (t: number) => adamScalars(0.02, t)],
    ['AdamW', adam({ weight_decay: 0.01, decoupled: true }), (t: number) => adamScalars(0.02, t)],
  ])(
    'learns, by %s',
    async (_, optimizer, scalars) => {
      const trainer = await trainerOf(12, { optimizer });
      const losses: number[] = [];
      for (let t = 1; t <= 60; t++) losses.push((await trainer.step(batch(t, 12), scalars(t)))['loss']!);
      const last = await trainer.step(batch(99, 12), scalars(61));
      await trainer.close();
      // Chance is ln 3 = 1.1.
      expect(losses[0]).toBeGreaterThan(0.6);
      expect(last['loss']).toBeLessThan(0.2);
      expect(last['correct']).toBe(12);
    },
    30_000,
  );

  it('is the same at both optimization levels, and leaves what it is fed as it was', async () => {
    const [a, b] = [await trainerOf(4), await trainerOf(4, {}, 'disabled')];
    const feeds = batch(3, 4);
    for (const trainer of [a, b]) {
      const before = [...trainer.state].map(([name, tensor]) => [name, numbers(tensor)]);
      const state = trainer.state;
      await trainer.step(feeds, { lr: 0.1 });
      // BatchNormalization in training mode writes into the statistics that it is given.
      expect([...state].map(([name, tensor]) => [name, numbers(tensor)])).toEqual(before);
      expect(numbers(feeds['x'])).toEqual(numbers(batch(3, 4)['x']));
      await trainer.step(batch(4, 4), { lr: 0.1 });
    }
    expect(distance(a, b)).toBeLessThan(1e-5);
    await Promise.all([a.close(), b.close()]);
  });

  it('of twice as many samples is the mean of two, where statistics are frozen', async () => {
    const more: Partial<TrainingPlan> = { optimizer: sgd(), batchNorm: 'frozen' };
    const [whole, first, second] = [await trainerOf(8, more), await trainerOf(4, more), await trainerOf(4, more)];
    const feeds = batch(5, 8);
    const half = (from: number): Feeds =>
      Object.fromEntries(Object.entries(feeds).map(([name, { dims, data }]) => {
        const each = data.length / 8;
        return [name, floats((data as Float32Array).slice(from * each, (from + 4) * each), [4, ...dims.slice(1)])];
      })); // prettier-ignore
    await whole.step(feeds, { lr: 1 });
    await first.step(half(0), { lr: 1 });
    await second.step(half(4), { lr: 1 });
    for (const [name, tensor] of whole.weights()) {
      const parts = [first, second].map((one) => numbers(one.weights().get(name)));
      numbers(tensor).forEach((value, i) => expect(value).toBeCloseTo((parts[0]![i]! + parts[1]![i]!) / 2, 5));
    }
    await Promise.all([whole.close(), first.close(), second.close()]);
  });

  it('goes on from its state to the same bits', async () => {
    const [a, b, c] = [await trainerOf(4, { optimizer: adam() }), await trainerOf(4, { optimizer: adam() }), await trainerOf(4, { optimizer: adam() })]; // prettier-ignore
    const steps = (t: Trainer, from: number, to: number) => (async () => { for (let i = from; i <= to; i++) await t.step(batch(i, 4), adamScalars(0.01, i)); })(); // prettier-ignore
    await steps(a, 1, 6);
    await steps(b, 1, 3);
    c.state = new Map([...b.state].map(([name, tensor]) => [name, floats(Float32Array.from(tensor.data as Float32Array), tensor.dims)])); // prettier-ignore
    await steps(c, 4, 6);
    expect(distance(a, c)).toBe(0);
    await Promise.all([a.close(), b.close(), c.close()]);
  });

  it('leaves out rows that do not count, and keeps masked weights at zero', async () => {
    const masks = new Map([['w1', {}], ['w2', { forwardOnly: true, maskGradients: true, doubleCopies: true }]]); // prettier-ignore
    const trainer = await trainerOf(4, { masks });
    const mask = (count: number, dims: readonly number[]): Tensor => floats(Float32Array.from({ length: count }, (_, i) => i % 2), dims); // prettier-ignore
    const given = new Map([['w1', mask(72, [4, 2, 3, 3])], ['w2', mask(36, [4, 1, 3, 3])]]); // prettier-ignore
    const first = numbers(trainer.weights().get('w2'));
    const none = { ...batch(7, 4), [rowsInput]: floats(new Float32Array(4), [4, 1]) };
    const before = numbers(trainer.weights().get('w3'));
    expect(await trainer.step(none, { lr: 0.1 }, given)).toMatchObject({ loss: 0, correct: 0 });
    expect(numbers(trainer.weights().get('w3'))).toEqual(before);
    for (let t = 1; t < 4; t++) await trainer.step(batch(t, 4), { lr: 0.1 }, given);
    const [w1, w2] = ['w1', 'w2'].map((name) => numbers(trainer.weights().get(name)));
    expect(w1!.every((value, i) => (i % 2 === 0) === (value === 0))).toBe(true);
    // Forward only: what is masked is kept, and comes back when the mask goes.
    expect(w2!.filter((_, i) => i % 2 === 0)).toEqual(first.filter((_, i) => i % 2 === 0));
    expect(w2!.some((value, i) => i % 2 === 1 && value !== first[i])).toBe(true);
    await trainer.close();
  });
});
