import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { dimsOf, makeTensor } from '../../../src/graph/tensor.ts';
import { edit } from '../../../src/graph/edit.ts';
import { anyPass } from '../../../src/passes/pass.ts';
import { placesAfter, taken } from '../../../src/passes/train/carry.ts';
import type { TrainingMemory } from '../../../src/passes/train/plan.ts';
import { runModel, testContext } from '../../helpers/context.ts';
import { smallConvNet } from '../../helpers/models.ts';
import { batchesOf, examples, farthest, memoryOf, normed, plansOf, samplesOf, train, weightsOf } from './epochs.ts';

const images = examples(20, 192);
const set = samplesOf(images, [3, 8, 8]);
const head = (optimizer: string, epochs: number) => `training: { epochs: ${epochs}, batch_size: 5, optimizer: ${optimizer} }`; // prettier-ignore
const thinning = (optimizer: string, weights: string, at = 2, epochs = 4) => `${head(optimizer, epochs)}
pruners: { p: { class: L1RankedStructureParameterPruner, group_type: Filters, desired_sparsity: 0.5, weights: [${weights}] } }
extensions: { cut: { class: FilterRemover } }
policies:
  - pruner: { instance_name: p }
    epochs: [${at}]
  - extension: { instance_name: cut }
    epochs: [${at}]
`;
const dims = (model: Model, name: string) => dimsOf(initializers(model.graph).get(name)!);

/** Elements at these places along an axis. */
function gathered(data: Float32Array, shape: readonly number[], axis: number, kept: readonly number[]): Float32Array {
  const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const outer = shape.slice(0, axis).reduce((a, b) => a * b, 1);
  const out: number[] = [];
  for (let o = 0; o < outer; o++)
    for (const k of kept) for (let i = 0; i < inner; i++) out.push(data[(o * shape[axis]! + k) * inner + i]!);
  return Float32Array.from(out);
}

describe('filters that are cut in the middle of training', () => {
  it.each(['{ name: sgd, lr: 0.05, momentum: 0.9 }', '{ name: adam, lr: 0.01 }'])(
    'take their slots along: %s',
    async (optimizer) => {
      const text = thinning(optimizer, 'conv1.weight');
      const whole = await train(normed(), text, set);
      expect(dims(whole.model, 'conv1.weight')).toEqual([3, 3, 3, 3]);
      expect(dims(whole.model, 'conv2.weight')).toEqual([4, 3, 3, 3]);
      expect(dims(whole.model, 'bn.mean')).toEqual([3]);

      // The same by hand: train, cut weights and slots alike, train on.
      const begun = await train(normed(), text, set, { epochs: [0, 1] });
      const before = weightsOf(begun.model);
      const [policy, remover] = plansOf(text, normed())[2]!.policies;
      const context = testContext({ reference: normed(), calibration: [batchesOf(images, [3, 8, 8], { epoch: 0, seed: 0, batchSize: 4 })[0]!.feeds] }); // prettier-ignore
      const zeroed = (await policy!.pass.apply(begun.model, policy!.options, context)).model;
      const cut = (await remover!.pass.apply(zeroed, remover!.options, context)).model;
      const norm = (f: number) => before.get('conv1.weight')!.slice(27 * f, 27 * f + 27).reduce((s, v) => s + Math.abs(v), 0); // prettier-ignore
      const kept = [0, 1, 2, 3, 4, 5].sort((a, b) => norm(b) - norm(a)).slice(0, 3).sort(); // prettier-ignore
      const axes: Record<string, number> = { 'conv1.weight': 0, 'bn.scale': 0, 'bn.shift': 0, 'conv2.weight': 1 };
      const old = memoryOf(begun);
      const slots = new Map([...old.slots].map(([name, list]) => [
      name,
      list.map((slot) => (name in axes ? gathered(slot, dims(begun.model, name), axes[name]!, kept) : slot)),
    ])); // prettier-ignore
      const memory = new Map<string, unknown>([['training', { ...old, slots } satisfies TrainingMemory]]);
      // Nothing is pruned here: the schedule is the same one without policies.
      const rest = await train(cut, head(optimizer, 4), set, { epochs: [2, 3], memory });
      expect(farthest(rest.model, whole.model)).toBe(0);
      for (const [name, list] of memoryOf(rest).slots) list.forEach((slot, i) => expect([...slot]).toEqual([...memoryOf(whole).slots.get(name)![i]!])); // prettier-ignore
      // Without the slots it goes elsewhere.
      const bare = new Map<string, unknown>([['training', { ...old, slots: new Map() } satisfies TrainingMemory]]);
      const other = await train(cut, head(optimizer, 4), set, { epochs: [2, 3], memory: bare });
      expect(farthest(other.model, whole.model)).toBeGreaterThan(1e-4);
    },
    30_000,
  );

  it('leave a model that runs and goes on learning, with a residual addition and a depthwise layer, too', async () => {
    const text = thinning('{ name: sgd, lr: 0.05, momentum: 0.9 }', 'conv1.weight, conv2.weight, dw.weight', 1, 8).replace('desired_sparsity', 'group_dependency: Leader, desired_sparsity'); // prettier-ignore
    const { model, results } = await train(smallConvNet(), text, set);
    expect(dims(model, 'conv1.weight')).toEqual([4, 3, 3, 3]);
    const { feeds } = batchesOf(images, [3, 8, 8], { epoch: 0, seed: 0, batchSize: 20 })[0]!;
    for (const level of ['disabled', 'all'] as const) expect((await runModel(model, feeds, level))['y']!.dims).toEqual([20, 5]); // prettier-ignore
    const losses = results.map(({ trained }) => trained!.loss);
    expect(losses.at(-1)).toBeLessThan(losses[1]! * 0.8);
  }, 30_000);

  it('are averaged and held back like others: ema, accumulation, and masks that were there', async () => {
    const text = thinning('{ name: sgd, lr: 0.05, momentum: 0.9 }, ema: 0.9, accumulate: 2', 'conv1.weight');
    const { model, memory } = await train(normed(), text, set);
    expect(dims(model, 'conv1.weight')).toEqual([3, 3, 3, 3]);
    for (const [name, list] of memoryOf({ memory }).slots) for (const slot of list) expect(slot).toHaveLength(weightsOf(model).get(name)!.length); // prettier-ignore
    // The average holds what it held before the cut: none of it begins at 0 again.
    const average = memoryOf({ memory }).slots.get('conv1.weight')![1]!;
    expect([...average]).toEqual([...weightsOf(model).get('conv1.weight')!]);
    const sparse =
      `${thinning('{ name: sgd, lr: 0.05, momentum: 0.9 }', 'conv1.weight')}  - pruner: { instance_name: l }
    epochs: [0]
`.replace('pruners: {', 'pruners: { l: { class: SparsityLevelParameterPruner, levels: { conv2: 0.5 } },');
    const end = weightsOf((await train(normed(), sparse, set)).model).get('conv2.weight')!;
    expect(end).toHaveLength(108);
    const zeros = end.filter((v) => v === 0).length;
    expect(zeros).toBeGreaterThan(30);
    expect(zeros).toBeLessThan(80);
  }, 30_000);

  it('leave masks of the forward graph alone on what is left', async () => {
    const text =
      `${thinning('{ name: sgd, lr: 0.05 }', 'conv1.weight')}  - pruner: { instance_name: l, args: { mask_on_forward_only: true, use_double_copies: true } }
    starting_epoch: 0
    ending_epoch: 8
    frequency: 4
`.replace('pruners: {', 'pruners: { l: { class: SparsityLevelParameterPruner, levels: { conv2: 0.5 } },');
    const { model, memory } = await train(normed(), text, set, { epochs: [0, 1, 2] });
    const mask = memoryOf({ memory }).masks.get('conv2.weight')!;
    expect(mask.data).toHaveLength(108);
    expect(mask.data.filter((v) => v === 0).length).toBeGreaterThan(30);
    expect(
      weightsOf(model)
        .get('conv2.weight')!
        .every((v) => v !== 0),
    ).toBe(true);
  });

  it('may be folded meanwhile: weights keep their slots by their names', async () => {
    const text = `${head('{ name: sgd, lr: 0.05, momentum: 0.9 }', 3)}
extensions: { fold: { class: FoldBatchNorm } }
policies:
  - extension: { instance_name: fold }
    epochs: [1]
`;
    const { model, results } = await train(normed(), text, set);
    expect(model.graph.node.map(({ op_type }) => op_type)).not.toContain('BatchNormalization');
    expect(results[2]!.trained!.loss).toBeLessThan(results[0]!.trained!.loss);
    // What the new bias is called is the fold's choice; it is trained.
    expect(results[2]!.changed.length).toBeGreaterThanOrEqual(6);
  });
});

describe('places of what is left', () => {
  it('are found for any cut, and not guessed where the values are new', async () => {
    const before = normed();
    const cutRows = (changed: boolean) => anyPass({
      name: 'prune/test', section: 'extensions', classes: ['T'], summary: '', source: '', options: undefined as never,
      apply: async (model: Model) => ({
        model: edit(model, (draft) => {
          const data = weightsOf(model).get('fc.bias')!;
          draft.replace('fc.bias', makeTensor('fc.bias', 'float32', [2], Float32Array.of(data[2]!, changed ? data[0]! + data[1]! : data[0]!)));
        }),
        changed: [], skipped: [],
      }),
    }); // prettier-ignore
    for (const changed of [false, true]) {
      const apply = async (model: Model) => (await cutRows(changed).apply(model, {}, testContext())).model;
      const places = await placesAfter(before, await apply(before), apply);
      expect([...places]).toEqual([['fc.bias', Int32Array.of(2, changed ? -1 : 0)]]);
      expect([...taken(Float32Array.of(7, 8, 9), places.get('fc.bias')!, 0)]).toEqual([9, changed ? 0 : 7]);
    }
    expect(await placesAfter(before, before, async () => { throw new Error('nothing is cut'); })).toEqual(new Map()); // prettier-ignore
  });
});
