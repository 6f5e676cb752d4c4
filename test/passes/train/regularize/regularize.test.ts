import { readFileSync } from 'node:fs';
import type { Regime, RegularizerKind } from '../../../../src/passes/train/kinds.ts';
import { regularizerKinds } from '../../../../src/passes/train/regularize/index.ts';
import { uniform } from '../../../../src/util/uniform.ts';
import { floats } from '../../../helpers/context.ts';
import fc from '../../../helpers/fc.ts';
import { noise } from '../../../helpers/models.ts';
import { apart, evaluate, worstSlope } from '../graph.ts';

const golden = JSON.parse(readFileSync(new URL('../goldens/regularizers.json', import.meta.url), 'utf8')) as {
  readonly weights: Record<string, { readonly dims: number[]; readonly data: number[] }>;
  readonly cases: readonly { class: string; group: string | null; rank: number; penalty: number; gradient: number[] }[];
};

const kindOf = (name: string): RegularizerKind => regularizerKinds.find(({ classes }) => classes.includes(name))!;
const regimeOf = (group: string | null, strength = 1): Regime => ({ weights: 'w', strength, group: group ?? undefined }); // prettier-ignore

const penalties = (kind: RegularizerKind, data: Float32Array, dims: readonly number[], group: string | null) =>
  evaluate((w, input) => new Map(Object.entries(kind.penalty(w, input('w', dims), regimeOf(group)))), {
    w: floats(data, dims),
  });

describe('a regularizer', () => {
  it.each(golden.cases.map((one) => [one.class, one.group, one] as const))(
    "%s of %s is PyTorch's penalty and gradient",
    async (name, group, { rank, penalty, gradient }) => {
      const { dims, data } = golden.weights[rank]!;
      for (const found of await penalties(kindOf(name), Float32Array.from(data), dims, group)) {
        expect(apart(found['penalty']!, [penalty])).toBeLessThan(1e-6);
        // float32 against float64; the variance is a difference of norms that are near to each other, squared.
        expect(apart(found['gradient']!, gradient)).toBeLessThan(name === 'GroupVarianceRegularizer' ? 1e-5 : 1e-6);
      }
    },
  );

  it.each([
    ['L2Regularizer', null, [2, 3]],
    ['GroupLassoRegularizer', '2D', [2, 3, 3]],
    ['GroupLassoRegularizer', 'Channels', [2, 2, 1, 2]],
    ['GroupLassoRegularizer', 'Rows+Cols', [3, 4]],
    ['GroupVarianceRegularizer', 'Cols', [4, 3]],
  ] as const)('%s of %s has the gradient of its own graph', async (name, group, dims) => {
    const count = dims.reduce((a: number, b) => a * b, 1);
    // Away from 0, where the norm has a kink.
    const data = noise(3, count, 0.3).map((v, i) => v + (i % 2 ? 1 : -1) + 0.3 * (i % 3));
    const [found] = await penalties(kindOf(name), data, dims, group);
    const value = async (x: Float32Array) => (await penalties(kindOf(name), x, dims, group))[1]!['penalty']![0]!;
    // Rounding of float32 over the step.
    expect(await worstSlope(value, data, found!['gradient']!, 2 ** -5)).toBeLessThan(2e-3);
  });

  it('is there for each class that schedules may name, and takes what they take', () => {
    const names = [
      'DropFilterRegularizer',
      'GroupLassoRegularizer',
      'GroupVarianceRegularizer',
      'L1Regularizer',
      'L2Regularizer',
    ];
    expect(regularizerKinds.map(({ classes }) => classes[0]).sort()).toEqual(names);
    for (const name of names) {
      const takes = (options: object) => kindOf(name).options.safeParse(options).success;
      const groups = /Group|Drop/.test(name);
      for (const more of [{}, { threshold_criteria: null }, { threshold_criteria: 'Max' }]) {
        expect(takes({ reg_regims: { a: 0.1, 'b*': 2 }, ...more })).toBe(!groups);
        expect(takes({ reg_regims: { a: [0.1, '3D'], b: [1, 'Cols+Rows'], c: [1, 'Block'] }, ...more })).toBe(groups);
      }
      expect(takes({ reg_regims: {}, threshold_criteria: 'L1' })).toBe(false);
    }
  });

  it('names its regimes', () => {
    const kind = kindOf('GroupLassoRegularizer');
    expect(kind.regimes(kind.options.parse({ reg_regims: { a: [0.1, '3D'], 'b.*': [2, 'Rows'] } }))).toEqual([
      { weights: 'a', strength: 0.1, group: '3D' },
      { weights: 'b.*', strength: 2, group: 'Rows' },
    ]);
  });

  it('makes no weight 0 unless a criterion is given', () => {
    const weight = new Float32Array(24);
    for (const kind of regularizerKinds)
      expect(kind.mask?.({ reg_regims: {} }, weight, [2, 3, 2, 2], regimeOf('3D'))).toBeUndefined();
  });

  it('with a threshold makes weights 0 that are no larger than its strength', () => {
    const options = { reg_regims: {}, threshold_criteria: 'Mean_Abs' };
    const weight = Float32Array.of(0.5, -0.25, 0.1, -0.7);
    for (const name of ['L1Regularizer', 'L2Regularizer'])
      expect([...kindOf(name).mask!(options, weight, [4], regimeOf(null, 0.25))!]).toEqual([1, 0, 0, 1]);
  });

  it.each([
    ['Rows', 'Max', [1, 1, 1, 0, 0, 0]],
    ['Rows', 'Mean_Abs', [0, 0, 0, 0, 0, 0]],
    ['Cols', 'Max', [1, 0, 0, 1, 0, 0]],
    ['Cols', 'Mean_Abs', [1, 0, 0, 1, 0, 0]],
    ['Rows+Cols', 'Max', [1, 0, 0, 0, 0, 0]],
  ] as const)('of %s by %s makes whole groups 0', (group, threshold_criteria, wanted) => {
    const weight = Float32Array.of(-0.9, 0.1, 0, 0.4, 0.2, -0.4);
    const mask = kindOf('GroupLassoRegularizer').mask!({ reg_regims: {}, threshold_criteria }, weight, [2, 3], regimeOf(group, 0.4)); // prettier-ignore
    expect([...mask!]).toEqual(wanted);
  });

  it('leaves groups of a kernel, a filter, a channel and a layer whole, and takes those that are small', () => {
    const axes: Record<string, (i: readonly [number, number, number]) => number> = {
      '2D': ([m, c]) => m * 3 + c,
      '3D': ([m]) => m,
      Filters: ([m]) => m,
      Channels: ([, c]) => c,
      '4D': () => 0,
    };
    const kind = kindOf('GroupVarianceRegularizer');
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 999 }), fc.constantFrom(...Object.keys(axes)), fc.constantFrom('Max', 'Mean_Abs'), (seed, group, threshold_criteria) => {
        const weight = noise(seed, 4 * 3 * 4, 1);
        const strength = threshold_criteria === 'Max' ? 0.9 : 0.45;
        const mask = kind.mask!({ reg_regims: {}, threshold_criteria }, weight, [4, 3, 2, 2], regimeOf(group, strength))!;
        const members = new Map<number, number[]>();
        mask.forEach((_, i) => {
          const at = axes[group]!([Math.floor(i / 12), Math.floor(i / 4) % 3, i % 4]);
          members.set(at, [...(members.get(at) ?? []), i]);
        });
        for (const group of members.values()) {
          const sizes = group.map((i) => Math.abs(weight[i]!));
          const size = threshold_criteria === 'Max' ? Math.max(...sizes) : sizes.reduce((a, b) => a + b) / sizes.length;
          expect(group.map((i) => mask[i])).toEqual(group.map(() => (size > strength ? 1 : 0)));
        }
      }),
    ); // prettier-ignore
  });

  it.each([
    ['GroupLassoRegularizer', 'Rows', 1, [4, 3, 2, 2], 'a weight of shape [4, 3, 2, 2] has no groups "Rows": it has 2D, 3D, Filters, Channels, 4D'],
    ['GroupLassoRegularizer', '3D', 1, [4, 5], 'a weight of shape [4, 5] has no groups "3D": it has Rows, Cols'],
    ['GroupLassoRegularizer', 'Channels+4D', 1, [4], 'a weight of shape [4] has no groups "Channels"'],
    ['GroupLassoRegularizer', 'Block', 1, [4, 5], 'groups "Block" have no size, and cannot be regularized'],
    ['GroupVarianceRegularizer', '4D', 1, [4, 3, 2, 2], 'a weight of shape [4, 3, 2, 2] is one group "4D", which has no variance'],
    ['GroupVarianceRegularizer', 'Rows+Cols', 1, [4, 3], 'the variance of groups "Rows+Cols" is none: name one kind of group'],
    ['DropFilterRegularizer', '3D', 1, [4, 3, 2, 2], 'a strength of 1 is no probability below 1 of dropping a group'],
  ] as const)('%s of %s refuses what it cannot hold', (name, group, strength, dims, sentence) => {
    expect(kindOf(name).refuse!(dims, regimeOf(group, strength))).toBe(sentence);
  }); // prettier-ignore

  it('refuses nothing that fits', () => {
    expect(kindOf('GroupLassoRegularizer').refuse!([4, 3, 2, 2], regimeOf('Channels+4D'))).toBeUndefined();
    expect(kindOf('GroupVarianceRegularizer').refuse!([4, 3, 2, 2], regimeOf('Channels'))).toBeUndefined();
    expect(kindOf('DropFilterRegularizer').refuse!([4, 3, 2, 2], regimeOf('3D', 0.3))).toBeUndefined();
  });

  it('that drops filters takes whole ones, as often as it is told, and keeps the sum of magnitudes', () => {
    const [filters, each] = [200, 6];
    const weight = noise(4, filters * each, 1);
    const factor = kindOf('DropFilterRegularizer').drop!(weight, [filters, 3, 1, 2], regimeOf('3D', 0.3), uniform(5));
    const kept = Array.from({ length: filters }, (_, f) => new Set(factor.subarray(f * each, (f + 1) * each)));
    expect(kept.every((values) => values.size === 1)).toBe(true);
    const dropped = kept.filter((values) => values.has(0)).length;
    // Of 200 at 0.3: 60, with a deviation of 6.5.
    expect(Math.abs(dropped - 60)).toBeLessThan(20);
    const total = (values: Float32Array) => values.reduce((sum, v) => sum + Math.abs(v), 0);
    expect(total(weight.map((v, i) => v * factor[i]!)) / total(weight)).toBeCloseTo(1, 5);
  });
});
