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
    draft.setInitializer(makeTensor('fc.weight', 'float32', [5, 8], Float32Array.from(values)));
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
