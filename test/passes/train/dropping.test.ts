import type { Feeds } from '../../../src/data/types.ts';
import type { Model } from '../../../src/graph/model.ts';
import { withWeights } from '../../../src/passes/prune/masks.ts';
import { bernoulli } from '../../../src/passes/prune/structure/bernoulli.ts';
import { trainingEpoch } from '../../../src/passes/train/epoch.ts';
import type { MaskArgs } from '../../../src/passes/train/masks.ts';
import type { EpochPlan } from '../../../src/passes/train/plan.ts';
import { regularizerKinds } from '../../../src/passes/train/regularize/index.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';
import { epochOf, lessons, weightOf } from './lessons.ts';

const batches: Feeds[] = [1, 2, 3].map((seed) => ({ x: floats(noise(seed, 8 * 192), [8, 3, 8, 8]) }));
const labels = batches.map((_, i) => Array.from({ length: 8 }, (__, k) => (3 * i + k * k) % 5));
const reference = smallConvNet();
const filters = Array.from({ length: 8 }, (_, f) => f);

/** An epoch over the first `count` batches, with what each step was fed for conv1's weight. */
async function epoch(more: Partial<EpochPlan>, count = 3, memory = new Map<string, unknown>(), model = reference) {
  const own = testContext({ calibration: batches, reference });
  const fed: { readonly name: string; readonly data: Float32Array }[] = [];
  const compute = (graph: Model, feeds: Feeds) => {
    for (const [name, { data }] of Object.entries(feeds))
      if (/^conv1\.(weight|bias)_(mask|factor)/.test(name)) fed.push({ name, data: (data as Float32Array).slice() });
    return own.compute(graph, feeds);
  };
  const training = lessons(batches.slice(0, count), labels);
  const context = testContext({ calibration: batches, reference, training, memory, compute });
  const plan = epochOf({ optimizer: { name: 'sgd', lr: 0.05 }, batch_size: 8 }, more);
  const result = await trainingEpoch.apply(model, plan, context);
  return { ...result, fed: fed.filter(({ name }) => name.startsWith('conv1.weight')).map(({ data }) => data), biases: fed.filter(({ name }) => name.startsWith('conv1.bias')) }; // prettier-ignore
}

/** Cross-entropy of the first batch. */
async function loss(model: Model): Promise<number> {
  const y = Object.values(await runModel(model, batches[0]!))[0]!.data as Float32Array;
  const rows = labels[0]!.map((label, k) => {
    const row = Array.from(y.subarray(5 * k, 5 * k + 5));
    return Math.log(row.reduce((sum, v) => sum + Math.exp(v), 0)) - row[label]!;
  });
  return rows.reduce((a, b) => a + b, 0) / rows.length;
}

const kind = regularizerKinds.find(({ classes }) => classes.includes('DropFilterRegularizer'))!;
const dropping = (more = {}): Partial<EpochPlan> => ({
  regularizers: [{ instance: 'drop', kind, options: kind.options.parse({ reg_regims: { 'conv1.weight': [0.5, '3D'] }, ...more }), keepMask: false, last: false }], // prettier-ignore
});
const changed = (model: Model, name = 'conv1.weight', each = 27): number[] => {
  const [was, now] = [weightOf(reference, name), weightOf(model, name)];
  return filters.filter((f) => now.subarray(each * f, each * f + each).some((v, i) => v !== was[each * f + i]));
};

describe('DropFilterRegularizer in an epoch', () => {
  it('drops filters for a step: they do not move, the others make up for them', async () => {
    const { model, trained } = await epoch(dropping(), 1);
    const moved = changed(model);
    expect(moved.length).toBeGreaterThan(0);
    expect(moved.length).toBeLessThan(8);
    const weight = weightOf(reference, 'conv1.weight');
    const sum = (of: readonly number[]) => of.reduce((s, f) => s + weight.subarray(27 * f, 27 * f + 27).reduce((a, v) => a + Math.abs(v), 0), 0); // prettier-ignore
    const share = sum(moved) / sum(filters);
    const dropped = weight.map((v, i) => (moved.includes(Math.floor(i / 27)) ? v / share : 0));
    const wanted = await loss(withWeights(reference, new Map([['conv1.weight', dropped]])));
    // Sums in float32, in another order.
    expect(Math.abs(trained!.loss - wanted)).toBeLessThan(1e-5);
    expect(Math.abs(trained!.loss - (await loss(reference)))).toBeGreaterThan(1e-3);
  });

  it('draws anew at each step and epoch, by its seed, as often as it is told', async () => {
    const memory = new Map<string, unknown>();
    const one = await epoch(dropping(), 3, memory);
    const two = await epoch(dropping(), 3, memory, one.model);
    const draws = [...one.fed, ...two.fed].map((factor) => filters.map((f) => (factor[27 * f] === 0 ? 0 : 1)).join(''));
    expect(draws).toHaveLength(6);
    expect(new Set(draws).size).toBeGreaterThan(4);
    expect((await epoch(dropping())).fed).toEqual(one.fed);
    expect((await epoch(dropping({ seed: 1 }))).fed).not.toEqual(one.fed);
    const rare = (await epoch(dropping({ frequency: 2 }))).fed.map((factor) => factor.includes(0));
    expect(rare).toEqual([true, false, true]);
    expect(weightOf(two.model, 'conv1.weight').includes(0)).toBe(false);
  }, 30_000);
});

describe('BernoulliFilterPruner in an epoch', () => {
  const args: MaskArgs = {
    mask_on_forward_only: true,
    use_double_copies: true,
    mask_gradients: true,
    mini_batch_pruning_frequency: 1,
    discard_masks_at_minibatch_end: true,
  };
  const policies = (more: MaskArgs = {}, options = {}): Partial<EpochPlan> => ({
    policies: [{ instance: 'drop', pass: bernoulli[0]!, options: bernoulli[0]!.options.parse({ desired_sparsity: 0.5, weights: ['conv1.weight'], ...options }), clock: { epoch: 0, start: 0, end: 2, frequency: 1 }, args: { ...args, ...more } }], // prettier-ignore
  });

  it('drops filters for a minibatch with their biases, divides by the share that stays, and draws anew', async () => {
    const { fed, biases, model } = await epoch(policies());
    expect(fed).toHaveLength(3);
    for (const [i, mask] of fed.entries()) {
      const kept = filters.filter((f) => mask[27 * f] !== 0);
      // A bias is part of the output.
      for (const f of filters) expect(biases[i]!.data[f]).toBe(mask[27 * f]);
      for (const f of kept) expect(mask[27 * f]).toBeCloseTo(8 / kept.length, 6);
    }
    expect(new Set(fed.map((mask) => mask.join())).size).toBe(3);
    expect(weightOf(model, 'conv1.weight').includes(0)).toBe(false);
  });

  it('takes the step of the masked network', async () => {
    const { fed, biases, trained, model } = await epoch(policies(), 1);
    const [weight, bias] = [weightOf(reference, 'conv1.weight'), weightOf(reference, 'conv1.bias')];
    const masked = withWeights(reference, new Map([['conv1.weight', weight.map((v, i) => v * fed[0]![i]!)], ['conv1.bias', bias.map((v, i) => v * biases[0]!.data[i]!)]])); // prettier-ignore
    // Sums in float32, in another order.
    expect(Math.abs(trained!.loss - (await loss(masked)))).toBeLessThan(1e-5);
    expect(changed(model)).toEqual(filters.filter((f) => fed[0]![27 * f] !== 0));
  });

  it('drops in every so many minibatches, also where the first draw takes nothing', async () => {
    const { fed } = await epoch(policies({ mini_batch_pruning_frequency: 2 }, { desired_sparsity: 0.3, seed: 3 }));
    const dropped = fed.map((mask) => mask.includes(0));
    expect(fed).toHaveLength(3);
    expect(dropped[1]).toBe(false);
  });
});
