import type { Feeds } from '../../../src/data/types.ts';
import type { Model } from '../../../src/graph/model.ts';
import { trainingEpoch } from '../../../src/passes/train/epoch.ts';
import { repr } from '../../../src/passes/prune/structure/repr.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';
import { epochOf, lessons, weightOf } from './lessons.ts';

const batches: Feeds[] = [1, 2].map((seed) => ({ x: floats(noise(seed, 8 * 192), [8, 3, 8, 8]) }));
const labels = batches.map((_, i) => Array.from({ length: 8 }, (__, k) => (3 * i + k * k) % 5));
const reference = smallConvNet();

/** The models after each epoch of a policy of RePr over all of them. */
async function train(epochs: number, asked: object, lr = 0.01): Promise<Model[]> {
  const memory = new Map<string, unknown>();
  const context = testContext({ calibration: batches, reference, training: lessons(batches, labels), memory });
  const models: Model[] = [];
  for (let epoch = 0; epoch < epochs; epoch++) {
    const policies = [{ instance: 'repr', pass: repr, options: repr.options.parse(asked), clock: { epoch, start: 0, end: epochs, frequency: 1 }, args: {} }]; // prettier-ignore
    const plan = epochOf({ optimizer: { name: 'sgd', lr, momentum: 0.9 }, batch_size: 8 }, { epoch, epochs, policies });
    const { model } = await trainingEpoch.apply(models.at(-1) ?? reference, plan, context);
    models.push(model);
  }
  return models;
}

const layers = { 'conv1.weight': 27, 'conv2.weight': 72 } as const;
const rows = (model: Model, name: keyof typeof layers): number[][] => {
  const weight = weightOf(model, name);
  return Array.from({ length: 8 }, (_, f) => [...weight.subarray(layers[name] * f, layers[name] * (f + 1))]);
};
const zeros = (model: Model, name: keyof typeof layers): number[] =>
  rows(model, name).flatMap((row, f) => (row.every((v) => v === 0) ? [f] : []));
const cosine = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, v, i) => sum + v * b[i]!, 0) / Math.hypot(...a) / Math.hypot(...b);
/** Filters of both layers, those that overlap most first. */
const ranked = (model: Model) =>
  (['conv1.weight', 'conv2.weight'] as const)
    .flatMap((name) => {
      const all = rows(model, name);
      return all.map((row, f) => ({ name, f, score: all.reduce((sum, other, j) => sum + (j === f ? 0 : Math.abs(cosine(row, other))), 0) / 8 })); // prettier-ignore
    })
    .sort((a, b) => b.score - a.score);

const asked = { weights: ['conv1.weight', 'conv2.weight'], share: 0.3, s1: 1, s2: 2, cycles: 1 };

describe('RePr', () => {
  it('drops the filters that overlap most over all layers, and keeps them and their biases zero', async () => {
    const [whole, first, second] = (await train(3, asked)) as [Model, Model, Model];
    const gone = ranked(whole).slice(0, 4);
    expect(zeros(whole, 'conv1.weight')).toEqual([]);
    for (const model of [first, second])
      for (const name of ['conv1.weight', 'conv2.weight'] as const) {
        const wanted = gone.filter((one) => one.name === name).map(({ f }) => f).sort((a, b) => a - b); // prettier-ignore
        expect(zeros(model, name)).toEqual(wanted);
        const bias = weightOf(model, name.replace('weight', 'bias'));
        expect(Array.from(bias.keys()).filter((f) => bias[f] === 0)).toEqual(wanted);
      }
    expect(rows(second, 'conv1.weight')).not.toEqual(rows(first, 'conv1.weight'));
  }, 30_000);

  it('brings them back orthogonal to all others and to what they were, and trains them on', async () => {
    // At a rate of next to 0 the weights at the end of an epoch are those of its beginning.
    const [whole, dropped, , back] = (await train(4, asked, 1e-12)) as [Model, Model, Model, Model];
    for (const name of ['conv1.weight', 'conv2.weight'] as const) {
      const gone = zeros(dropped, name);
      const [old, now] = [rows(whole, name), rows(back, name)];
      const kept = old.flatMap((_, f) => (gone.includes(f) ? [] : [Math.hypot(...now[f]!)]));
      for (const f of gone) {
        // Float32 rounds directions by 1e-7.
        for (let j = 0; j < 8; j++) if (j !== f) expect(Math.abs(cosine(now[f]!, now[j]!))).toBeLessThan(1e-5);
        for (const g of gone) expect(Math.abs(cosine(now[f]!, old[g]!))).toBeLessThan(1e-5); // prettier-ignore
        expect(Math.hypot(...now[f]!) / (kept.reduce((a, b) => a + b, 0) / kept.length)).toBeCloseTo(1, 4);
      }
      const bias = name.replace('weight', 'bias');
      expect(Array.from(weightOf(back, bias))).toEqual(Array.from(weightOf(whole, bias)));
    }
    const gone = [...zeros(dropped, 'conv1.weight'), ...zeros(dropped, 'conv2.weight')];
    expect(gone).toHaveLength(4);
    const [, , , ...later] = await train(6, asked, 0.05);
    for (const f of zeros(dropped, 'conv1.weight')) expect(rows(later[1]!, 'conv1.weight')[f]).not.toEqual(rows(later[0]!, 'conv1.weight')[f]); // prettier-ignore
    // One cycle: they stay.
    expect(zeros(later[2]!, 'conv1.weight')).toEqual([]);
  }, 60_000);

  it('goes on for as many cycles as it is told', async () => {
    const models = await train(7, { ...asked, s2: 1, cycles: 3 });
    const count = models.map((model) => zeros(model, 'conv1.weight').length + zeros(model, 'conv2.weight').length);
    expect(count).toEqual([0, 4, 0, 4, 0, 4, 0]);
  }, 60_000);

  it('is refused where nothing is trained', async () => {
    await expect(repr.apply(reference, repr.options.parse({}), testContext())).rejects.toThrow(
      'RePr drops filters for some epochs of training, and nothing is trained',
    );
  });
});
