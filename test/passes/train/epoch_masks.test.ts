import type { Feeds } from '../../../src/data/types.ts';
import { edit } from '../../../src/graph/edit.ts';
import type { Model } from '../../../src/graph/model.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { floatsOf } from '../../../src/passes/train/carry.ts';
import { testContext } from '../../helpers/context.ts';
import { examples, memoryOf, mlp, normed, samplesOf, train, weightsOf, zerosOf } from './epochs.ts';

const set = samplesOf(examples(30, 6), [6]);
const momentum = 'optimizer: { name: sgd, lr: 0.1, momentum: 0.9, weight_decay: 0.01 }';
/** Two epochs of 3 steps, or as many as are asked for; a pruner of fc1 with arguments. */
const schedule = (args: string, { epochs = 3, at = '[0]', how = '', level = 0.5, pruner = 'SparsityLevelParameterPruner' } = {}) =>
  `training: { epochs: ${epochs}, batch_size: 10, ${momentum}${how} }
pruners: { p: { class: ${pruner}, levels: { fc1: ${level} } } }
policies:
  - pruner: { instance_name: p, args: { ${args} } }
    ${at.startsWith('[') ? `epochs: ${at}` : at}
`; // prettier-ignore
const range = (end: number) => `starting_epoch: 0\n    ending_epoch: ${end}\n    frequency: 1`;
const w1 = (model: Model) => weightsOf(model).get('w1')!;
const smallest = (data: Float32Array, count: number): number[] =>
  [...data.entries()].sort((a, b) => Math.abs(a[1]) - Math.abs(b[1])).slice(0, count).map(([i]) => i).sort((a, b) => a - b); // prettier-ignore
const first = w1(mlp());
const pruned = smallest(first, 24);

describe('masks of training', () => {
  it('keep zeros at 0 through momentum and decay, in the epochs behind their policy, too', async () => {
    const { results } = await train(mlp(), schedule(''), set);
    for (const { model } of results) expect(zerosOf(w1(model))).toEqual(pruned);
    // With momentum of its own before it is pruned, a weight would move on.
    const late = await train(mlp(), schedule('', { at: '[1]', epochs: 4 }), set);
    const zeros = smallest(w1(late.results[0]!.model), 24);
    for (const { model } of late.results.slice(1)) expect(zerosOf(w1(model))).toEqual(zeros);
  });

  it('keep zeros that were there before training, whatever is trained', async () => {
    const sparse = mlp((name, data) => (name === 'w2' ? data.map((v, i) => (i % 3 === 0 ? 0 : v)) : data));
    for (const how of ['', ', frozen: [fc2]', ', frozen: [fc1]', ', ema: 0.5', ', optimizer: { name: adam }']) {
      const text = how.includes('adam') ? `training: { epochs: 2, batch_size: 10, optimizer: adam }` : schedule('', { how, epochs: 2 }); // prettier-ignore
      const { results } = await train(sparse, text, set);
      for (const { model } of results) expect(zerosOf(weightsOf(model).get('w2'))).toEqual([0, 3, 6, 9, 12, 15, 18, 21]); // prettier-ignore
    }
  });

  it('are of weights that are not trained, too', async () => {
    const { results } = await train(mlp(), schedule('', { how: ', frozen: [fc1]', at: '[1]' }), set);
    expect([...w1(results[0]!.model)]).toEqual([...first]);
    const wanted = first.map((v, i) => (pruned.includes(i) ? 0 : v));
    for (const { model } of results.slice(1)) expect([...w1(model)]).toEqual([...wanted]);
    // What is trained sees them: the kept graph is as good as one made anew.
    const text = schedule('', { how: ', frozen: [fc1]', at: '[1]' });
    const begun = await train(mlp(), text, set, { epochs: [0] });
    const anew = await train(begun.model, text, set, { epochs: [1], memory: new Map([['training', memoryOf(begun)]]) });
    expect(anew.results[0]!.trained!.loss).toBe(results[1]!.trained!.loss);
  });

  it('of the forward graph alone act on weights that are not trained, and leave them as they are', async () => {
    const args = 'mask_on_forward_only: true';
    const [frozen, free] = [', frozen: [fc1]', ''].map((how) => train(mlp(), schedule(args, { how, at: range(2) }), set)); // prettier-ignore
    const { results } = await frozen!;
    // The first epoch's first step sees the same masked weights, whatever is trained.
    const plain = await train(mlp(), `training: { epochs: 3, batch_size: 10, ${momentum}, frozen: [fc1] }`, set);
    const ten = samplesOf(examples(10, 6), [6]);
    const [a, b] = await Promise.all([', frozen: [fc1]', ''].map((how) => train(mlp(), schedule(args, { how, at: range(1), epochs: 1 }), ten))); // prettier-ignore
    expect(a!.results[0]!.trained!.loss).toBe(b!.results[0]!.trained!.loss);
    expect(results[0]!.trained!.loss).not.toBe(plain.results[0]!.trained!.loss);
    for (const { model } of results) expect([...w1(model)]).toEqual([...first]);
    expect([...w1((await free!).model)]).not.toEqual([...first]);
    // Anew in the middle of an epoch, too.
    const often = await train(mlp(), schedule(`${args}, mini_batch_pruning_frequency: 1`, { how: ', frozen: [fc1]', at: range(2) }), set); // prettier-ignore
    expect(often.results[0]!.trained!.loss).toBe(results[0]!.trained!.loss);
  });

  it('of the forward graph alone let weights move, and go with their policy', async () => {
    const begun = (args: string, more = {}) => train(mlp(), schedule(`mask_on_forward_only: true, ${args}`, { at: range(2), ...more }), set); // prettier-ignore
    const copies = await begun('use_double_copies: true');
    const single = await begun('use_double_copies: false');
    for (const { results } of [copies, single]) {
      const found = w1(results[0]!.model);
      expect(zerosOf(found)).toEqual([]);
      for (const i of pruned) expect(found[i]).not.toBe(first[i]);
    }
    // With copies updates add up to the weight that was; without, each begins at 0.
    const far = (data: Float32Array, from: (i: number) => number) => Math.max(...pruned.map((i) => Math.abs(data[i]! - from(i)))); // prettier-ignore
    expect(far(w1(copies.results[0]!.model), (i) => first[i]!)).toBeLessThan(0.2);
    expect(far(w1(single.results[0]!.model), () => 0)).toBeLessThan(0.2);
    expect(Math.max(...pruned.map((i) => Math.abs(w1(single.results[0]!.model)[i]!)))).toBeLessThan(
      Math.max(...pruned.map((i) => Math.abs(first[i]!))),
    );
    // The loss is that of the masked net: the same as with masks on the weights, in the first step.
    const hard = await train(mlp(), schedule('', { epochs: 1 }), samplesOf(examples(10, 6), [6]));
    const soft = await train(mlp(), schedule('mask_on_forward_only: true, use_double_copies: true', { epochs: 1 }), samplesOf(examples(10, 6), [6])); // prettier-ignore
    expect(soft.results[0]!.trained!.loss).toBeCloseTo(hard.results[0]!.trained!.loss, 6);
    expect(memoryOf(copies).masks.has('w1')).toBe(false);
  });

  it('are put on the weights at the end of a policy that keeps them', async () => {
    for (const copies of ['true', 'false']) {
      const { results } = await train(mlp(), schedule(`mask_on_forward_only: true, use_double_copies: ${copies}, keep_mask: true`, { at: range(2) }), set); // prettier-ignore
      expect(zerosOf(w1(results[0]!.model))).toEqual([]);
      const kept = zerosOf(w1(results[1]!.model));
      expect(kept).toHaveLength(24);
      expect(zerosOf(w1(results[2]!.model))).toEqual(kept);
    }
  });

  it('may hold gradients back, too: only momentum and decay are left', async () => {
    const how = (more: string) => schedule(`mask_on_forward_only: true, use_double_copies: true, ${more}`, { epochs: 1 }).replace(', momentum: 0.9, weight_decay: 0.01', ''); // prettier-ignore
    const [held, free] = [await train(mlp(), how('mask_gradients: true'), set), await train(mlp(), how('mask_gradients: false'), set)]; // prettier-ignore
    for (const i of pruned) {
      expect(w1(held.model)[i]).toBe(first[i]);
      expect(w1(free.model)[i]).not.toBe(first[i]);
    }
  });

  it('are found anew in the middle of an epoch, every so many steps of all', async () => {
    const args = 'mask_on_forward_only: true, use_double_copies: true, mini_batch_pruning_frequency: 2';
    const lists: (readonly number[])[] = [];
    const by = async (text: string) => {
      lists.length = 0;
      const plain = testContext();
      const seen = async (graph: Model, feeds: Feeds) => {
        const name = Object.keys(feeds).find((one) => one.startsWith('w1_mask'));
        if (name !== undefined) lists.push(zerosOf(feeds[name]!.data as Float32Array));
        return plain.compute(graph, feeds);
      };
      return train(mlp(), text.replace('lr: 0.1', 'lr: 0.5'), set, { compute: seen });
    };
    const trained = await by(schedule(args, { epochs: 2, at: range(2) }));
    // Three steps an epoch: new masks at the beginning of each, and at steps 2 and 4 of all.
    const changes = lists.map((mask, i) => i > 0 && mask.join() !== lists[i - 1]!.join());
    expect(lists).toHaveLength(6);
    for (const mask of lists) expect(mask).toHaveLength(24);
    expect(changes[1]).toBe(false);
    expect(changes[2]).toBe(true);
    expect(changes[4]).toBe(true);
    expect(changes[5]).toBe(false);
    void trained;
    // Let go at the end of each step, and found again every second: full in between.
    await by(schedule(`${args}, discard_masks_at_minibatch_end: true`, { epochs: 1, at: range(1) }));
    expect(lists.map((mask) => mask.length)).toEqual([24, 0, 24]);
    await by(schedule('discard_masks_at_minibatch_end: true', { epochs: 1, at: range(1) }));
    expect(lists.map((mask) => mask.length)).toEqual([24, 0, 0]);
    // Not before the second step of the first epoch.
    await by(schedule('skip_first_minibatch: true', { epochs: 2, at: range(2) }));
    expect(lists.map((mask) => mask.length)).toEqual([0, 24, 24, 24, 24, 24]);
  });

  it('skip the first step of the first epoch: it is a step of the whole net', async () => {
    const ten = samplesOf(examples(10, 6), [6]);
    const late = await train(mlp(), schedule('skip_first_minibatch: true', { epochs: 1 }), ten);
    const plain = await train(mlp(), `training: { epochs: 1, batch_size: 10, ${momentum} }`, ten);
    expect(late.results[0]!.trained!.loss).toBe(plain.results[0]!.trained!.loss);
    const { model } = await train(mlp(), schedule('skip_first_minibatch: true', { epochs: 1 }), set);
    expect(zerosOf(w1(model))).toHaveLength(24);
  });

  it('that mask nothing at the beginning of an epoch may do so in its middle', async () => {
    // A threshold that everything is above until decay pulls it below.
    const text = `training: { epochs: 1, batch_size: 5, optimizer: { name: sgd, lr: 0.2, weight_decay: 2 } }
pruners: { p: { class: MagnitudeParameterPruner, thresholds: { fc1: 0.1 } } }
policies: [{ pruner: { instance_name: p, args: { mini_batch_pruning_frequency: 1 } }, epochs: [0] }]`;
    const far = mlp((name, data) => (name === 'w1' ? data.map((v) => v + Math.sign(v) * 0.15) : data));
    const { model } = await train(far, text, set);
    expect(zerosOf(w1(model)).length).toBeGreaterThan(3);
  });

  it('follow a gradual pruner to its sparsity', async () => {
    const text = `training: { epochs: 6, batch_size: 10, ${momentum} }
pruners: { agp: { class: AutomatedGradualPruner, initial_sparsity: 0.25, final_sparsity: 0.75, weights: ['*'] } }
policies: [{ pruner: { instance_name: agp }, starting_epoch: 1, ending_epoch: 5, frequency: 1 }]`;
    const { results, model } = await train(mlp(), text, set);
    const counts = results.map(({ model: one }) => zerosOf(w1(one)).length);
    expect([counts[0], counts[1], counts[4], counts[5]]).toEqual([0, 12, 36, 36]);
    expect(counts).toEqual([...counts].sort((a, b) => a - b));
    expect(zerosOf(weightsOf(model).get('w2'))).toHaveLength(18);
    expect(results.at(-1)!.trained!.loss).toBeLessThan(results[0]!.trained!.loss);
  });

  it('are found by weights with their batch norm folded in, where that is asked for', async () => {
    const images = samplesOf(examples(10, 192), [3, 8, 8]);
    const text = (args: string) => `training: { epochs: 1, batch_size: 10, optimizer: { name: sgd, lr: 1.0e-9 } }
pruners: { p: { class: L1RankedStructureParameterPruner, group_type: Filters, desired_sparsity: 0.5, weights: [conv1.weight] } }
policies: [{ pruner: { instance_name: p, args: { ${args} } }, epochs: [0] }]`;
    // The filters with the largest weights are those that the batch norm makes small.
    const net = edit(normed(), (draft) => {
      const { dims, data } = floatsOf(normed()).get('conv1.weight')!;
      draft.replace('conv1.weight', makeTensor('conv1.weight', 'float32', dims, data.map((v, i) => (i < 81 ? 3 * v : v)))); // prettier-ignore
      draft.replace('bn.scale', makeTensor('bn.scale', 'float32', [6], Float32Array.of(0.1, 0.1, 0.1, 1, 1, 1)));
    });
    const filters = async (args: string): Promise<number[]> => {
      const { model } = await train(net, text(args), images);
      const now = weightsOf(model).get('conv1.weight')!;
      const before = weightsOf(net).get('conv1.weight')!;
      now.forEach((v, i) => expect(v === 0 ? 0 : v).toBeCloseTo(v === 0 ? 0 : before[i]!, 5));
      return [0, 1, 2, 3, 4, 5].filter((f) => now.subarray(27 * f, 27 * f + 27).every((v) => v === 0));
    };
    expect(await filters('')).toEqual([3, 4, 5]);
    expect(await filters('fold_batchnorm: true')).toEqual([0, 1, 2]);
  });

  it('keep what policies remember apart from what training keeps, whatever they are called', async () => {
    for (const name of ['training', 'graph', 'teacher']) {
      const text = `training: { epochs: 3, batch_size: 10, ${momentum} }
pruners: { ${name}: { class: AutomatedGradualPruner, initial_sparsity: 0.25, final_sparsity: 0.75, weights: ['*'] } }
policies: [{ pruner: { instance_name: ${name} }, starting_epoch: 0, ending_epoch: 3, frequency: 1 }]`;
      const { model } = await train(mlp(), text, set);
      expect(zerosOf(w1(model))).toHaveLength(36);
    }
  });
});
