import { buildTraining, trainingOpset } from '../../../src/autodiff/training_graph.ts';
import { crossEntropyKind } from '../../../src/passes/train/loss/cross_entropy.ts';
import { adam, adamScalars } from '../../../src/passes/train/optimizer/adam.ts';
import { sgd } from '../../../src/passes/train/optimizer/sgd.ts';
import { upgradeOpset } from '../../../src/graph/opset.ts';
import { openTrainer } from '../../autodiff/trainer.ts';
import { testContext } from '../../helpers/context.ts';
import { smallConvNet } from '../../helpers/models.ts';
import {
  batchesOf,
  examples,
  farthest,
  memoryOf,
  mlp,
  normed,
  samplesOf,
  train,
  weightsOf,
  zerosOf,
} from './epochs.ts';

const vectors = examples(30, 6);
const set = samplesOf(vectors, [6]);
const images = examples(20, 192);
const imageSet = samplesOf(images, [3, 8, 8]);
const text = (training: string, more = ''): string => `training: { ${training} }\n${more}`;

/** The same steps by hand: weights after `epochs` epochs. */
async function byHand(epochs: number, how: 'sgd' | 'adam', batchSize: number) {
  const model = upgradeOpset(mlp(), trainingOpset).model;
  const first = batchesOf(vectors, [6], { epoch: 0, seed: 0, batchSize })[0]!;
  const shapes = await testContext({ calibration: [first.feeds] }).shapes(model);
  const outputs = new Map([['y', [batchSize, 3]]]);
  const options = crossEntropyKind.settled!(crossEntropyKind.options.parse({}), model, first, outputs);
  const trainer = await openTrainer(
    buildTraining(model, shapes, {
      trainable: ['w1', 'b1', 'w2', 'b2'],
      loss: crossEntropyKind.make(options),
      optimizer: how === 'sgd' ? sgd({ momentum: 0.9 }) : adam(),
      batchNorm: 'train',
    }),
    { threads: 1 },
  );
  let t = 0;
  const losses: number[] = [];
  for (let epoch = 0; epoch < epochs; epoch++) {
    let [sum, count] = [0, 0];
    for (const batch of batchesOf(vectors, [6], { epoch, seed: 0, batchSize })) {
      const scalars = how === 'sgd' ? { lr: 0.1 } : adamScalars(0.01, ++t);
      const { loss } = await trainer.step(
        { ...batch.feeds, ...crossEntropyKind.feeds(options, batch, outputs) },
        scalars,
      );
      sum += loss! * batch.count;
      count += batch.count;
    }
    losses.push(sum / count);
  }
  const weights = new Map([...trainer.weights()].map(([name, { data }]) => [name, data]));
  await trainer.close();
  return { weights, losses };
}

describe('an epoch of training', () => {
  it.each([
    ['sgd', 'optimizer: { name: sgd, lr: 0.1, momentum: 0.9 }'],
    ['adam', 'optimizer: { name: adam, lr: 0.01 }'],
  ] as const)('is the same steps as a loop by hand, bit for bit: %s', async (how, optimizer) => {
    // Batches of 8: the last of the four has 6 samples.
    const trained = await train(mlp(), text(`epochs: 3, batch_size: 8, ${optimizer}`), set);
    const hand = await byHand(3, how, 8);
    for (const [name, data] of weightsOf(trained.model)) expect([...data]).toEqual([...(hand.weights.get(name) as Float32Array)]); // prettier-ignore
    expect(trained.results.map(({ trained: t }) => t?.loss)).toEqual(hand.losses);
    expect(trained.results.map(({ trained: t }) => [t?.epoch, t?.steps, t?.samples])).toEqual([[0, 4, 30], [1, 4, 30], [2, 4, 30]]); // prettier-ignore
    expect(memoryOf(trained)).toMatchObject({ step: 12, updates: 12 });
    expect(memoryOf(trained).losses).toEqual(hand.losses);
  });

  it('learns, and says how well', async () => {
    const { results, told } = await train(mlp(), text('epochs: 20, batch_size: 8, optimizer: { name: sgd, lr: 0.1, momentum: 0.9 }'), set); // prettier-ignore
    expect(results[0]!.trained!.loss).toBeGreaterThan(0.5);
    expect(results.at(-1)!.trained).toMatchObject({ epoch: 19, lr: 0.1 });
    expect(results.at(-1)!.trained!.loss).toBeLessThan(0.15);
    expect(results.at(-1)!.trained!.accuracy).toBeGreaterThan(95);
    expect(told.at(-1)).toMatch(/^epoch 20 of 20, loss 0\.\d+, 100\.00 %, lr 0.100, \d+ samples\/s$/);
  });

  it.each([
    ['sgd with momentum', mlp(), set, 'optimizer: { name: sgd, lr: 0.1, momentum: 0.9 }', 8],
    ['adam, accumulated, averaged', mlp(), set, 'optimizer: { name: adam, lr: 0.01 }, accumulate: 2, ema: 0.9', 8],
    ['BatchNormalization', normed(), imageSet, 'optimizer: { name: adamw, lr: 0.01 }', 5],
    [
      'a small convnet',
      smallConvNet(),
      imageSet,
      'optimizer: { name: sgd, lr: 0.05, nesterov: true, momentum: 0.9 }',
      5,
    ],
  ])(
    'goes on where it was stopped, to the same bits: %s',
    async (_, model, samples, how, size) => {
      const schedule = text(`epochs: 4, batch_size: ${size}, ${how}`);
      const whole = await train(model, schedule, samples);
      const first = await train(model, schedule, samples, { epochs: [0, 1] });
      // Only what is plain data is carried over: a graph and its session are made anew.
      const memory = new Map([['training', structuredClone(memoryOf(first))]]);
      const rest = await train(first.model, schedule, samples, { epochs: [2, 3], memory });
      expect(farthest(rest.model, whole.model)).toBe(0);
      expect(memoryOf(rest)).toEqual(memoryOf(whole));
      const again = await train(model, schedule, samples);
      expect(farthest(again.model, whole.model)).toBe(0);
      expect(farthest(first.model, whole.model)).toBeGreaterThan(0.001);
      const other = await train(model, schedule.replace('batch_size', 'seed: 5, batch_size'), samples);
      expect(farthest(other.model, whole.model)).toBeGreaterThan(1e-5);
    },
    30_000,
  );

  it('makes its graph once, as long as nothing of its structure changes', async () => {
    const pruned = 'pruners: { p: { class: SparsityLevelParameterPruner, levels: { fc1: 0.5 } } }\npolicies: [{ pruner: { instance_name: p }, epochs: [0, 2] }]'; // prettier-ignore
    for (const more of ['', pruned]) {
      const { ran } = await train(mlp(), text('epochs: 4, batch_size: 8', more), set);
      expect(new Set(ran.filter((one) => one.graph.input.length > 3)).size).toBe(1);
    }
  });

  it('counts of the last batch only the samples that there are', async () => {
    // One batch of 4 of which 3 are repeats, by mean over one: as a batch of one.
    const one = samplesOf(vectors.slice(0, 5), [6]);
    const [filled, alone] = [await train(mlp(), text('epochs: 1, batch_size: 4'), one), await byHandOfLast()];
    expect(filled.results[0]!.trained).toMatchObject({ samples: 5, steps: 2 });
    expect(filled.results[0]!.trained!.accuracy! % 20).toBeCloseTo(0, 6);
    for (const [name, data] of weightsOf(filled.model)) data.forEach((v, i) => expect(v).toBeCloseTo(alone.get(name)![i]!, 6)); // prettier-ignore
  });

  /** Four samples, then the fifth alone. */
  async function byHandOfLast() {
    const [first, second] = batchesOf(vectors.slice(0, 5), [6], { epoch: 0, seed: 0, batchSize: 4 });
    const parts = [first!, { ...second!, feeds: { x: { ...second!.feeds['x']!, dims: [1, 6], data: (second!.feeds['x']!.data as Float32Array).slice(0, 6) } }, size: 1 }]; // prettier-ignore
    let model = mlp();
    for (const batch of parts)
      model = (await train(model, text(`epochs: 1, batch_size: ${batch.size}`), {
        ...set,
        samples: batch.count,
        async *batches() {
          yield batch;
        },
      })).model; // prettier-ignore
    return weightsOf(model);
  }
});

describe('what a training block asks for', () => {
  const steps = async (how: string, more = '', samples = set) => train(mlp(), text(`epochs: 1, batch_size: 10, ${how}`, more), samples); // prettier-ignore
  /** The change of all weights in the first step, of plain descent with a rate of 1: the gradient. */
  const gradientOf = async (how: string) => {
    const one = samplesOf(vectors.slice(0, 10), [6]);
    const { model } = await steps(`optimizer: { name: sgd, lr: 1 }, ${how}`, '', one);
    const [a, b] = [weightsOf(mlp()), weightsOf(model)];
    return [...a].flatMap(([name, data]) => [...data].map((v, i) => v - b.get(name)![i]!));
  };

  it('clips the norm of all gradients together as PyTorch does, and single ones by value', async () => {
    const plain = await gradientOf('');
    const norm = Math.sqrt(plain.reduce((s, v) => s + v * v, 0));
    const small = norm / 3;
    (await gradientOf(`clip_norm: ${small}`)).forEach((v, i) => expect(v).toBeCloseTo((plain[i]! * small) / (norm + 1e-6), 6)); // prettier-ignore
    (await gradientOf(`clip_norm: ${2 * norm}`)).forEach((v, i) => expect(v).toBeCloseTo(plain[i]!, 6));
    const bound = Math.max(...plain.map(Math.abs)) / 2;
    (await gradientOf(`clip_value: ${bound}`)).forEach((v, i) => expect(v).toBeCloseTo(Math.min(bound, Math.max(-bound, plain[i]!)), 6)); // prettier-ignore
  });

  it.each(['', 'clip_norm: 0.1', 'clip_value: 0.05', 'ema: 0.5'])(
    'adds up k batches to one of k times the size: %s',
    async (how) => {
      const by = (batch: string) => train(mlp(), text(`epochs: 2, ${batch}, optimizer: { name: sgd, lr: 0.2, momentum: 0.9 }, ${how}`), set); // prettier-ignore
      const [added, whole] = [await by('batch_size: 5, accumulate: 3'), await by('batch_size: 15')];
      expect(farthest(added.model, whole.model)).toBeLessThan(1e-6);
      expect(farthest(added.model, mlp())).toBeGreaterThan(0.01);
      expect(memoryOf(added)).toMatchObject({ step: 12, updates: 4 });
    },
  );

  it('averages weights for what comes out, and trains on from the weights themselves', async () => {
    const how = 'epochs: 3, batch_size: 10, optimizer: { name: sgd, lr: 0.2, momentum: 0.9 }';
    const averaged = await train(mlp(), text(`${how}, ema: 0.8`), set);
    const raw: Map<string, Float32Array>[] = [];
    // The weights after every single step: epochs of one batch each.
    let [model, memory] = [mlp(), new Map<string, unknown>()];
    for (let epoch = 0; epoch < 3; epoch++)
      for (const batch of batchesOf(vectors, [6], { epoch, seed: 0, batchSize: 10 })) {
        const one = { ...set, samples: 10, async *batches() { yield batch; } }; // prettier-ignore
        const next = await train(model, text(how), one, { epochs: [0], memory });
        [model, memory] = [next.model, next.memory];
        raw.push(weightsOf(model));
      }
    for (const [name, data] of weightsOf(averaged.model))
      data.forEach((v, i) => {
        const share = raw.map((_, t) => 0.8 ** (raw.length - 1 - t));
        const mean = raw.reduce((s, w, t) => s + share[t]! * w.get(name)![i]!, 0) / share.reduce((a, b) => a + b);
        expect(v).toBeCloseTo(mean, 5);
      });
    for (const [name, data] of memoryOf(averaged).weights!) expect([...data]).toEqual([...raw.at(-1)!.get(name)!]);
  });

  it('finds averages among the slots whatever weights are called', async () => {
    const how = text('epochs: 2, batch_size: 10, optimizer: { name: sgd, lr: 0.2, momentum: 0.9 }, ema: 0.8');
    const [plain, named] = [await train(mlp(), how, set), await train(mlp(undefined, 'w_average'), how, set)];
    expect([...weightsOf(named.model).get('w_average')!]).toEqual([...weightsOf(plain.model).get('w1')!]);
  });

  it('keeps what pruning zeroed at 0 in the average, too', async () => {
    const schedule = text('epochs: 2, batch_size: 10, ema: 0.8', `pruners: { p: { class: SparsityLevelParameterPruner, levels: { fc1: 0.5 } } }
policies: [{ pruner: { instance_name: p }, epochs: [1] }]`); // prettier-ignore
    const { model, results } = await train(mlp(), schedule, set);
    expect(zerosOf(weightsOf(results[0]!.model).get('w1'))).toHaveLength(0);
    expect(zerosOf(weightsOf(model).get('w1'))).toHaveLength(24);
  });

  it.each([
    ['trainable: [fc2]', ['w2', 'b2']],
    ['frozen: [fc1]', ['w2', 'b2']],
    ["trainable: ['fc*'], frozen: [w2]", ['w1', 'b1', 'b2']],
    ['trainable: [w1]', ['w1']],
    ['frozen: [b1, b2]', ['w1', 'w2']],
  ])('trains what it may: %s', async (how, wanted) => {
    const { model, results } = await steps(how);
    const [before, after] = [weightsOf(mlp()), weightsOf(model)];
    const changed = [...before].filter(([name, data]) => data.some((v, i) => v !== after.get(name)![i])).map(([name]) => name); // prettier-ignore
    expect(changed).toEqual(wanted);
    expect(results[0]!.changed.map(({ layer }) => layer).sort()).toEqual([...wanted].sort());
  });

  it('keeps running statistics of BatchNormalizations, or leaves them alone', async () => {
    const by = async (how: string) => weightsOf((await train(normed(), text(`epochs: 2, batch_size: 5, batchnorm: ${how}`), imageSet)).model); // prettier-ignore
    const [before, trained, frozen] = [weightsOf(normed()), await by('train'), await by('frozen')];
    for (const name of ['bn.mean', 'bn.variance']) {
      expect([...frozen.get(name)!]).toEqual([...before.get(name)!]);
      expect([...trained.get(name)!]).not.toEqual([...before.get(name)!]);
    }
    for (const name of ['bn.scale', 'bn.shift', 'conv1.weight'])
      for (const one of [trained, frozen]) expect([...one.get(name)!]).not.toEqual([...before.get(name)!]);
  });

  it('feeds the rate of its schedule: 0 changes nothing, and what a policy left stays', async () => {
    const step = (
      milestone: number,
    ) => `lr_schedulers: { d: { class: MultiStepLR, milestones: [${milestone}], gamma: 0 } }
policies: [{ lr_scheduler: { instance_name: d }, starting_epoch: 0, ending_epoch: 2, frequency: 1 }]`;
    const { results } = await train(mlp(), text('epochs: 3, batch_size: 10, optimizer: { name: sgd, lr: 0.5 }', step(1)), set); // prettier-ignore
    expect(results.map(({ trained }) => trained?.lr)).toEqual([0.5, 0, 0]);
    expect(farthest(results[0]!.model, mlp())).toBeGreaterThan(0.01);
    expect(farthest(results[1]!.model, results[0]!.model)).toBe(0);
    expect(farthest(results[2]!.model, results[0]!.model)).toBe(0);
  });
});
