import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { floats } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';
import { examples, mlp, samplesOf, train, weightsOf } from './epochs.ts';
import { lessons } from './lessons.ts';

const set = samplesOf(examples(30, 6), [6]);
const head = (how = '', epochs = 1) => `training: { epochs: ${epochs}, batch_size: 10, optimizer: { name: sgd, lr: 0.1 }${how} }\n`; // prettier-ignore
const ints = (name: string, ...list: number[]) => makeTensor(name, 'int64', [list.length], BigInt64Array.from(list, BigInt)); // prettier-ignore

/** x [N, 6] → y, z [N, 3] from a shared layer, each by a layer of its own. */
const twoHeaded = (): Model =>
  makeModel({
    opset: 18,
    inputs: [makeValue('x', 'float32', ['N', 6])],
    outputs: [makeValue('y', 'float32', ['N', 3]), makeValue('z', 'float32', ['N', 3])],
    initializers: [weight('w', [8, 6], 1), weight('a', [3, 8], 2), weight('b', [3, 8], 3)],
    nodes: [
      makeNode('Gemm', ['x', 'w'], ['h'], { transB: 1 }, { name: 'fc' }),
      makeNode('Tanh', ['h'], ['t'], {}, { name: 'act' }),
      makeNode('Gemm', ['t', 'a'], ['y'], { transB: 1 }, { name: 'first' }),
      makeNode('Gemm', ['t', 'b'], ['z'], { transB: 1 }, { name: 'second' }),
    ],
  });

/** What of two models' weights is not the same. */
const moved = (before: Model, after: Model): string[] => {
  const now = weightsOf(after);
  return [...weightsOf(before)].filter(([name, data]) => data.some((v, i) => v !== now.get(name)![i])).map(([name]) => name); // prettier-ignore
};

describe('a loss', () => {
  it('trains what it reads, and what else there is stays and is told', async () => {
    for (const [how, wanted, left] of [
      ['', ['w', 'a'], 'b'],
      [', loss: { name: cross_entropy, output: z }', ['w', 'b'], 'a'],
      [', distillation: { student_wt: 0, distill_wt: 0, hints: { h: 1 } }', [], 'a, b'],
    ] as const) {
      const { model, results } = await train(twoHeaded(), head(how), set);
      expect(moved(twoHeaded(), model)).toEqual(wanted);
      expect(results[0]!.skipped).toEqual([{ layer: left, text: 'the loss does not follow what is made with it: not trained' }]); // prettier-ignore
    }
  });

  it('that weighs nothing, or compares a single class, is refused', async () => {
    const nothing = head(', distillation: { student_wt: 0, distill_wt: 0 }');
    await expect(train(mlp(), nothing, set)).rejects.toThrow('nothing is learned: student_wt and distill_wt are 0');
    const one = makeModel({
      opset: 18,
      inputs: [makeValue('x', 'float32', ['N', 6])],
      outputs: [makeValue('y', 'float32', ['N', 1])],
      initializers: [weight('w', [6, 1], 1)],
      nodes: [makeNode('MatMul', ['x', 'w'], ['y'], {}, { name: 'fc' })],
    });
    for (const how of ['', ', distillation: { student_wt: 0, distill_wt: 1 }'])
      await expect(train(one, head(how), set)).rejects.toThrow('compare classes, and output y [10, 1] has one');
  });

  it('finds no label that counts', async () => {
    const feeds = [{ x: floats(noise(1, 60), [10, 6]) }];
    const none = lessons(feeds, [Array.from({ length: 10 }, () => -1)]);
    await expect(train(mlp(), head(), none)).rejects.toThrow('none of the 10 samples to train on has a label that counts'); // prettier-ignore
    // A batch of labels that do not count says nothing of the loss.
    const two = lessons([...feeds, ...feeds], [Array.from({ length: 10 }, () => -1), Array.from({ length: 10 }, () => 1)]); // prettier-ignore
    const one = lessons(feeds, [Array.from({ length: 10 }, () => 1)]);
    const losses = await Promise.all([two, one].map(async (set) => (await train(mlp(), head(), set)).results[0]!.trained!.loss)); // prettier-ignore
    expect(losses[0]).toBe(losses[1]);
    const some = lessons(feeds, [Array.from({ length: 10 }, (_, i) => (i === 3 ? 1 : -1))]);
    expect((await train(mlp(), head(', loss: bce'), some)).results[0]!.trained!.loss).toBeGreaterThan(0);
  });

  it('compares with expected outputs where there are no labels', async () => {
    const x = noise(1, 60);
    const base = lessons([{ x: floats(x, [10, 6]) }]);
    const expected = { y: floats(new Float32Array(3).fill(2), [1, 3]) };
    const taught = {
      ...base,
      async *batches(o: Parameters<typeof base.batches>[0]) {
        for await (const batch of base.batches(o)) yield { ...batch, targets: batch.targets.map(() => ({ expected })) };
      },
    };
    const { results } = await train(mlp(), head(', loss: mse', 20), taught);
    expect(results.at(-1)!.trained!.loss).toBeLessThan(0.2 * results[0]!.trained!.loss);
  });
});

describe('weights that cannot be trained', () => {
  it('are told: those of a recurrent layer, and of other types', async () => {
    const lstm = makeModel({
      opset: 18,
      inputs: [makeValue('x', 'float32', ['N', 6])],
      outputs: [makeValue('y', 'float32', ['N', 3])],
      initializers: [weight('W', [1, 16, 2], 1), weight('R', [1, 16, 4], 2), weight('fc', [4, 3], 3), ints('shape', -1, 3, 2), ints('axis', 0)],
      nodes: [
        makeNode('Reshape', ['x', 'shape'], ['s'], {}, { name: 'split' }),
        makeNode('Transpose', ['s'], ['t'], { perm: [1, 0, 2] }, { name: 'turn' }),
        makeNode('LSTM', ['t', 'W', 'R'], ['', 'h'], { hidden_size: 4 }, { name: 'lstm' }),
        makeNode('Squeeze', ['h', 'axis'], ['q'], {}, { name: 'squeeze' }),
        makeNode('MatMul', ['q', 'fc'], ['y'], {}, { name: 'fc' }),
      ],
    }); // prettier-ignore
    const one = await train(lstm, head(), set);
    expect(moved(lstm, one.model)).toEqual(['fc']);
    expect(one.results[0]!.skipped).toEqual([{ layer: 'lstm', text: expect.stringContaining('2 parameters before it are not trained') as string }]); // prettier-ignore
    const half = makeModel({
      opset: 18,
      inputs: [makeValue('x', 'float32', ['N', 6])],
      outputs: [makeValue('y', 'float32', ['N', 3])],
      // Larger than what is folded into the graph.
      initializers: [makeTensor('w', 'float16', [900, 6], new Uint16Array(5400).fill(0x2000)), weight('v', [3, 900], 1)],
      nodes: [
        makeNode('Cast', ['w'], ['wide'], { to: 1 }, { name: 'cast' }),
        makeNode('Gemm', ['x', 'wide'], ['h'], { transB: 1 }, { name: 'fc1' }),
        makeNode('Gemm', ['h', 'v'], ['y'], { transB: 1 }, { name: 'fc2' }),
      ],
    }); // prettier-ignore
    const { results } = await train(half, head(), set);
    expect(results[0]!.skipped).toEqual([{ layer: 'w', text: 'is float16: only float32 is trained' }]);
  });

  it('are all of them where none is left, with the reason', async () => {
    await expect(train(mlp(), head(', frozen: ["*"]'), set)).rejects.toThrow('no weight is left to be trained');
    const classes = makeModel({
      opset: 18,
      inputs: [makeValue('x', 'float32', ['N', 6])],
      outputs: [makeValue('y', 'float32', ['N', 3])],
      initializers: [weight('w', [6, 3], 1)],
      nodes: [
        makeNode('MatMul', ['x', 'w'], ['s'], {}, { name: 'fc' }),
        makeNode('Shape', ['s'], ['n'], {}, { name: 'shape' }),
        makeNode('ConstantOfShape', ['n'], ['y'], {}, { name: 'zeros' }),
      ],
    });
    await expect(train(classes, head(), set)).rejects.toThrow('no weight can be trained: w, the loss does not follow');
  });
});

describe('a batch', () => {
  const single = (rows: number): Model =>
    makeModel({
      opset: 18,
      inputs: [makeValue('x', 'float32', [rows, 6])],
      outputs: [makeValue('y', 'float32', [rows, 3])],
      initializers: [weight('w', [6, 3], 1), ints('shape', rows, 6)],
      nodes: [
        makeNode('Reshape', ['x', 'shape'], ['s'], {}, { name: 'reshape' }),
        makeNode('MatMul', ['s', 'w'], ['y'], {}, { name: 'fc' }),
      ],
    });

  it('that a model of fixed size does not take is refused with the one that it takes', async () => {
    await expect(train(single(1), head(), set)).rejects.toMatchObject({
      message: 'the model is made for batches of 1, and does not run on 10 samples at once',
      hint: 'give `training:` "batch_size: 1" and "accumulate: 10"',
    });
    const { model } = await train(single(1), head(', accumulate: 10').replace('batch_size: 10', 'batch_size: 1'), set);
    expect(moved(single(1), model)).toEqual(['w']);
    expect(moved(single(10), (await train(single(10), head(), set)).model)).toEqual(['w']);
  });
});

describe('BatchNormalizations that share their statistics', () => {
  it('move them one after the other', async () => {
    const stat = (name: string, value: number) => makeTensor(name, 'float32', [4], new Float32Array(4).fill(value));
    const statistics = ['scale', 'shift', 'mean', 'variance'];
    const shared = makeModel({
      opset: 18,
      inputs: [makeValue('x', 'float32', ['N', 4])],
      outputs: [makeValue('y', 'float32', ['N', 3])],
      initializers: [stat('scale', 2), stat('shift', 3), stat('mean', 0), stat('variance', 1), weight('w', [4, 3], 1)],
      nodes: [
        makeNode('BatchNormalization', ['x', ...statistics], ['n'], {}, { name: 'bn1' }),
        makeNode('BatchNormalization', ['n', ...statistics], ['m'], {}, { name: 'bn2' }),
        makeNode('MatMul', ['m', 'w'], ['y'], {}, { name: 'fc' }),
      ],
    });
    const x = noise(2, 40).map((v) => v + 1);
    const { model } = await train(shared, head(), lessons([{ x: floats(x, [10, 4]) }], [[0, 1, 2, 0, 1, 2, 0, 1, 2, 0]])); // prettier-ignore
    const mean = [0, 1, 2, 3].map((c) => Array.from({ length: 10 }, (_, i) => x[4 * i + c]!).reduce((a, b) => a + b) / 10); // prettier-ignore
    // m ← 0.9 m + 0.1 of each batch's: first x's, then that of what the first gave, whose mean is the shift.
    mean.forEach((m, c) => expect(weightsOf(model).get('mean')![c]).toBeCloseTo(0.9 * (0.1 * m) + 0.1 * 3, 5));
  });
});
