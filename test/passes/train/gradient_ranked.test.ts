import type { Feeds } from '../../../src/data/types.ts';
import type { Model } from '../../../src/graph/model.ts';
import { withWeights } from '../../../src/passes/prune/masks.ts';
import { gradientRanked } from '../../../src/passes/train/gradient_ranked.ts';
import { trainingEpoch } from '../../../src/passes/train/epoch.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';
import { epochOf, lessons, weightOf } from './lessons.ts';

const batches: Feeds[] = [1, 2, 3].map((seed) => ({ x: floats(noise(seed, 16 * 192), [16, 3, 8, 8]) }));
const labels = batches.map((_, i) => Array.from({ length: 16 }, (__, k) => (3 * i + k * k) % 5));
const reference = smallConvNet();
const context = (more = {}) => testContext({ calibration: batches, reference, training: lessons(batches, labels), ...more }); // prettier-ignore
const [once, ramped] = gradientRanked;

/** Cross-entropy of a batch, in float64 from the model's outputs. */
async function loss(model: Model, i: number): Promise<number> {
  const y = Object.values(await runModel(model, batches[i]!))[0]!.data as Float32Array;
  const rows = labels[i]!.map((label, k) => {
    const row = Array.from(y.subarray(5 * k, 5 * k + 5));
    const top = Math.max(...row);
    return Math.log(row.reduce((sum, v) => sum + Math.exp(v - top), 0)) + top - row[label]!;
  });
  return rows.reduce((a, b) => a + b, 0) / rows.length;
}

/** Slopes of each batch's loss along the filters of conv1, by central differences with steps of a thirty-second of the filter. */
async function slopes(): Promise<number[][]> {
  const weight = weightOf(reference, 'conv1.weight');
  const scaled = (filter: number, by: number) =>
    withWeights(reference, new Map([['conv1.weight', weight.map((v, i) => (Math.floor(i / 27) === filter ? v * (1 + by) : v))]])); // prettier-ignore
  const h = 1 / 32;
  return Promise.all(batches.map((_, i) => Promise.all(Array.from({ length: 8 }, async (__, f) => ((await loss(scaled(f, h), i)) - (await loss(scaled(f, -h), i))) / (2 * h))))); // prettier-ignore
}

const zeroFilters = (model: Model): number[] => {
  const weight = weightOf(model, 'conv1.weight');
  return Array.from({ length: 8 }, (_, f) => f).filter((f) => weight.subarray(27 * f, 27 * f + 27).every((v) => v === 0)); // prettier-ignore
};
const options = (more = {}) => once!.options.parse({ desired_sparsity: 0.4, weights: ['conv1.weight'], samples: 48, ...more }); // prettier-ignore

describe('GradientRankedFilterPruner', () => {
  it('takes the filters that brute force finds, by each criterion', async () => {
    const found = await slopes();
    const by = { signed: (v: number) => v, taylor: Math.abs, taylor_squared: (v: number) => v * v };
    const chosen: string[] = [];
    for (const [criterion, score] of Object.entries(by)) {
      const scores = Array.from({ length: 8 }, (_, f) => found.reduce((sum, batch) => sum + score(batch[f]!), 0));
      const order = [...scores.keys()].sort((a, b) => scores[a]! - scores[b]!);
      const { model } = await once!.apply(reference, options({ criterion }), context());
      expect(zeroFilters(model)).toEqual(order.slice(0, 3).sort((a, b) => a - b));
      chosen.push(zeroFilters(model).join());
    }
    // Sign and magnitude do not agree here, or the test would not tell them apart.
    expect(chosen[0]).not.toBe(chosen[1]);
  }, 30_000);

  it('looks at as many samples as it is told, and lets the leader decide for all', async () => {
    const [first] = await slopes();
    const order = [...first!.keys()].sort((a, b) => first![a]! - first![b]!);
    const { model } = await once!.apply(reference, options({ samples: 16 }), context());
    expect(zeroFilters(model)).toEqual(order.slice(0, 3).sort((a, b) => a - b));
    const both = await once!.apply(reference, options({ weights: ['conv1.weight', 'conv2.weight'], group_dependency: 'Leader' }), context()); // prettier-ignore
    const second = weightOf(both.model, 'conv2.weight');
    for (const f of zeroFilters(both.model)) expect(second.subarray(72 * f, 72 * f + 72).every((v) => v === 0)).toBe(true); // prettier-ignore
  });

  it('keeps what is zero, in an epoch of training too, by the loss of its `training:`', async () => {
    const policy = (epoch: number, pass = ramped!) => ({
      instance: 'grad',
      pass,
      options: ramped!.options.parse({ initial_sparsity: 0.25, final_sparsity: 0.5, weights: ['conv1.weight'], samples: 48 }), // prettier-ignore
      clock: { epoch, start: 0, end: 2, frequency: 1 },
      args: {},
    });
    const memory = new Map<string, unknown>();
    const training = { optimizer: { name: 'sgd', lr: 0.01 }, batch_size: 16 };
    const run = (model: Model, epoch: number) =>
      trainingEpoch.apply(model, epochOf(training, { epoch, epochs: 2, policies: [policy(epoch)] }), context({ memory })); // prettier-ignore
    const one = await run(reference, 0);
    expect(zeroFilters(one.model)).toHaveLength(2);
    const two = await run(one.model, 1);
    expect(zeroFilters(two.model)).toHaveLength(4);
    expect(zeroFilters(two.model)).toEqual(expect.arrayContaining(zeroFilters(one.model)));
  }, 30_000);

  it('needs samples to train on, and labels', async () => {
    await expect(once!.apply(reference, options(), context({ training: undefined }))).rejects.toMatchObject({
      message: 'there are no samples to take gradients of the training loss on',
    });
    await expect(once!.apply(reference, options(), context({ training: lessons(batches) }))).rejects.toThrow(
      'the samples to train on have no labels, and there is no teacher',
    );
  });

  it("says that a model with its teacher's outputs has no gradient", async () => {
    const training = { batch_size: 16, distillation: { student_wt: 0, distill_wt: 1 } };
    const policies = [{ instance: 'grad', pass: once!, options: options(), clock: { epoch: 0, start: 0, end: 1, frequency: 1 }, args: {} }]; // prettier-ignore
    const run = trainingEpoch.apply(reference, epochOf(training, { policies }), context({ training: lessons(batches) })); // prettier-ignore
    await expect(run).rejects.toThrow(/^the training loss is .*: its gradients are rounding/);
  });
});
