import { baiduRnnPruner } from '../../../src/passes/prune/baidu_rnn.ts';
import { splicingPruner } from '../../../src/passes/prune/splicing.ts';
import { agpPruner } from '../../../src/passes/prune/agp.ts';
import { levelPruner } from '../../../src/passes/prune/level.ts';
import { magnitudePruner } from '../../../src/passes/prune/magnitude.ts';
import { sensitivityPruner } from '../../../src/passes/prune/sensitivity.ts';
import { edit } from '../../../src/graph/edit.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { floatData, makeTensor } from '../../../src/graph/tensor.ts';
import { testContext } from '../../helpers/context.ts';
import { smallConvNet } from '../../helpers/models.ts';

const weightsOf = (model: Model, name: string): Float32Array => floatData(initializers(model.graph).get(name)!);
const zeros = (model: Model, name: string): number => weightsOf(model, name).filter((w) => w === 0).length;
const withFc = (values: readonly number[]): Model =>
  edit(smallConvNet(), (draft) => {
    draft.replace('fc.weight', makeTensor('fc.weight', 'float32', [5, 8], Float32Array.from(values)));
  });

describe('prune/level', () => {
  it('zeros exactly the share asked for', async () => {
    const { model, skipped } = await levelPruner.apply(
      smallConvNet(),
      { levels: { 'conv1.weight': 0.25, '*': 0.5 } },
      testContext(),
    );
    expect(['conv1.weight', 'conv2.weight', 'fc.weight'].map((name) => zeros(model, name))).toEqual([54, 288, 20]);
    expect(skipped).toEqual([]);
    expect(levelPruner.strength!.describe({ levels: { a: 0.5, b: 0.75 } })).toBe('sparsity 0.50 to 0.75');
  });
});

describe('prune/agp', () => {
  const o = { initial_sparsity: 0.1, final_sparsity: 0.8, weights: ['conv2.weight'] };

  it('follows the cubic ramp, never takes a zero back, and ends at the final sparsity', async () => {
    let model = smallConvNet();
    const counts: number[] = [];
    for (const epoch of [2, 4, 6, 8]) {
      const before = weightsOf(model, 'conv2.weight');
      const clock = { epoch, start: 2, end: 10, frequency: 2 };
      const result = await agpPruner.apply(model, o, testContext({ clock }));
      model = result.model;
      const after = weightsOf(model, 'conv2.weight');
      expect(before.every((w, i) => w !== 0 || after[i] === 0)).toBe(true);
      counts.push(zeros(model, 'conv2.weight'));
      expect(result.skipped.map(({ layer }) => layer)).toEqual(['conv1', 'dw', 'fc']);
    }
    // s = 0.8 − 0.7·(1 − t)³ at t = 0, 1/3, 2/3, 1, of 576 weights: 0.1, 0.592593, 0.774074, 0.8.
    expect(counts).toEqual([58, 341, 446, 461]);
  });

  it('is at the final sparsity at once in a policy of one epoch', async () => {
    const clock = { epoch: 7, start: 7, end: 8, frequency: 1 };
    const { model } = await agpPruner.apply(smallConvNet(), o, testContext({ clock }));
    expect(zeros(model, 'conv2.weight')).toBe(461);
  });

  it('refuses a ramp that goes down', () => {
    const { error } = agpPruner.options.safeParse({ ...o, final_sparsity: 0.05 });
    expect(error?.issues).toMatchObject([{ path: ['final_sparsity'] }]);
  });

  it('weakens both ends', () => {
    const { strength } = agpPruner;
    expect(strength!.at(o, 0.5)).toEqual({ ...o, initial_sparsity: 0.05, final_sparsity: 0.4 });
    expect(strength!.describe(strength!.at(o, 0.5))).toBe('final sparsity 0.40');
  });
});

describe('prune/magnitude', () => {
  it('zeros magnitudes up to and at the threshold, each weight by its own or by that of all others', async () => {
    const values = Array.from({ length: 40 }, (_, i) => (i - 20) / 16);
    const plain = withFc(values);
    const { model } = await magnitudePruner.apply(
      plain,
      { thresholds: { '*': 1e9, 'fc.weight': 0.25, 'conv1.weight': 0 } },
      testContext(),
    );
    // |i − 20| ≤ 4 of i = 0 … 39.
    expect(zeros(model, 'fc.weight')).toBe(9);
    expect([...weightsOf(model, 'fc.weight')]).toEqual(values.map((v) => (Math.abs(v) <= 0.25 ? 0 : v)));
    expect(weightsOf(model, 'conv1.weight')).toEqual(weightsOf(plain, 'conv1.weight'));
    expect(zeros(model, 'conv2.weight')).toBe(576);
  });

  it('leaves weights alone that no entry names, and says so', async () => {
    const { changed, skipped } = await magnitudePruner.apply(
      smallConvNet(),
      { thresholds: { 'fc.weight': 0.1 } },
      testContext(),
    );
    expect(changed.map(({ layer }) => layer)).toEqual(['fc']);
    expect(skipped.map(({ layer }) => layer)).toEqual(['conv1', 'conv2', 'dw']);
  });
});

describe('prune/sensitivity', () => {
  // 1 … 20 with both signs: Σx² = 2·2870, so σ = √(5740 / 39) = 12.13… with n − 1.
  const values = Array.from({ length: 40 }, (_, i) => (i < 20 ? i + 1 : 19 - i));
  const at = (s: number) => ({ sensitivities: { 'fc.weight': s } });

  it('zeros magnitudes up to s·σ', async () => {
    const { model, changed } = await sensitivityPruner.apply(withFc(values), at(0.5), testContext());
    // Up to 6.07: 1 … 6, twice.
    expect(zeros(model, 'fc.weight')).toBe(12);
    expect(changed[0]!.text).toBe('fc.weight: 30.0 % zeros (12 of 40), threshold 6.07');
  });

  it('keeps the σ of its first use in later epochs', async () => {
    const context = testContext();
    const first = await sensitivityPruner.apply(withFc(values), at(0.5), context);
    const { model } = await sensitivityPruner.apply(first.model, at(1), context);
    expect(zeros(model, 'fc.weight')).toBe(24);
    // Another instance has its own memory, and zeros lower σ: √(2·(2870 − 91) / 39) = 11.94, so 12 stays.
    const fresh = await sensitivityPruner.apply(first.model, at(1), testContext());
    expect(zeros(fresh.model, 'fc.weight')).toBe(22);
  });
});

describe('prune/splicing', () => {
  // Magnitudes 1 … 20, twice: mean 10.5, σ = √(2·665 / 39) = 5.8398 with n − 1.
  const values = Array.from({ length: 40 }, (_, i) => (i < 20 ? i + 1 : 19 - i));
  const o = {
    sensitivities: { 'fc.weight': 0.5 },
    low_thresh_mult: 0.8,
    hi_thresh_mult: 1.2,
    sensitivity_multiplier: 0,
  };
  const times = (model: Model, factor: number): Model =>
    edit(model, (draft) => {
      const data = weightsOf(model, 'fc.weight').map((w) => w * factor);
      draft.replace('fc.weight', makeTensor('fc.weight', 'float32', [5, 8], data));
    });

  it('zeros below the lower of two thresholds in mean + s·σ of the magnitudes', async () => {
    const { model, changed } = await splicingPruner.apply(withFc(values), o, testContext());
    // 10.5 + 0.5·5.8398 = 13.42; times 0.8 is 10.74: 1 … 10, twice.
    expect(zeros(model, 'fc.weight')).toBe(20);
    expect(changed[0]!.text).toBe('fc.weight: 50.0 % zeros (20 of 40), thresholds 10.7 and 16.1');
  });

  it('gives weights back that are beyond the upper one, and leaves those between as they are', async () => {
    const context = testContext();
    const first = await splicingPruner.apply(withFc(values), o, context);
    const weaker = { ...o, low_thresh_mult: 0.2, hi_thresh_mult: 0.6 };
    const second = await splicingPruner.apply(first.model, weaker, context);
    // 0.6·13.42 = 8.05: 9 and 10 come back with their values, 1 … 8 stay zero although only 1 and 2 are below 2.68.
    expect([...weightsOf(second.model, 'fc.weight')]).toEqual(values.map((v) => (Math.abs(v) <= 8 ? 0 : v)));
    expect(second.changed[0]!.text).toContain(', 4 given back');
  });

  it('looks at the weights as they have become since', async () => {
    const context = testContext();
    const first = await splicingPruner.apply(withFc(values), o, context);
    const { model } = await splicingPruner.apply(times(first.model, 0.5), o, context);
    // Of what was left, 11 … 20 halved, only magnitudes from 10.74 on stay as they are: none.
    expect(zeros(model, 'fc.weight')).toBe(40);
  });

  it('lets sensitivities grow with the epochs of the policy', async () => {
    const clock = { epoch: 14, start: 10, end: 20, frequency: 2 };
    const { model } = await splicingPruner.apply(
      withFc(values),
      { ...o, sensitivity_multiplier: 0.25 },
      testContext({ clock }),
    );
    // s = 0.5·(1 + 0.25·4) = 1: 0.8·(10.5 + 5.84) = 13.07.
    expect(zeros(model, 'fc.weight')).toBe(26);
  });

  it('refuses thresholds in the wrong order', () => {
    const { error } = splicingPruner.options.safeParse({ ...o, hi_thresh_mult: 0.5 });
    expect(error?.issues).toMatchObject([{ path: ['hi_thresh_mult'] }]);
  });
});

describe('prune/baidu_rnn', () => {
  const values = Array.from({ length: 40 }, (_, i) => (i < 20 ? i + 1 : 19 - i));
  const o = { q: 10, ramp_epoch_offset: 4, ramp_slope_mult: 1.5, weights: ['fc.weight'] };
  const at = async (epoch: number, from: Model): Promise<Model> => {
    const context = testContext({ clock: { epoch, start: 0, end: 8, frequency: 2 } });
    return (await baiduRnnPruner.apply(from, o, context)).model;
  };

  it('follows the two slopes of the paper and takes no zero back', async () => {
    let model = withFc(values);
    const counts: number[] = [];
    for (const epoch of [0, 2, 4, 6]) counts.push(zeros((model = await at(epoch, model)), 'fc.weight'));
    // θ = 2·10·2 / (2·4 + 3·4) = 2, φ = 3. ε = θ(t + 1)/2 = 1, 3; then (θ·5 + φ(t − 3))/2 = 6.5 and 9.5.
    expect(counts).toEqual([2, 6, 12, 18]);
  });

  it('refuses a ramp that begins after its policy', async () => {
    const context = testContext({ clock: { epoch: 0, start: 0, end: 4, frequency: 2 } });
    await expect(async () => baiduRnnPruner.apply(withFc(values), o, context)).rejects.toThrow(
      'ramp_epoch_offset 4 is not below the 4 epochs of the policy',
    );
  });
});
