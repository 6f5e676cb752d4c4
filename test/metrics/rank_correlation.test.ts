import fc from '../helpers/fc.ts';
import { rankCorrelation, spearman } from '../../src/metrics/rank_correlation.ts';
import type { MetricInput } from '../../src/metrics/metric.ts';
import { noise } from '../helpers/models.ts';
import { batch, float, run } from './support.ts';

const matrix = (rows: number[][]) => ({ y: float([rows.length, rows[0]!.length], ...rows.flat()) });
const input = (own: number[][], reference: number[][]): MetricInput => ({
  batch: batch(own.length),
  outputs: matrix(own),
  reference: matrix(reference),
});
/** So many vectors of five numbers. */
const vectors = (n: number, seed: number): number[][] => Array.from({ length: n }, (_, i) => [...noise(seed + i, 5, 1)]); // prettier-ignore

/** Pearson's correlation of ranks, each the number of lower values and half of the equal ones. */
function brute(a: number[], b: number[]): number {
  const rank = (all: number[]) => all.map((v) => all.filter((w) => w < v).length + all.filter((w) => w === v).length / 2); // prettier-ignore
  const [x, y] = [rank(a), rank(b)];
  const mean = (all: number[]) => all.reduce((sum, v) => sum + v, 0) / all.length;
  const cov = (p: number[], q: number[]) => mean(p.map((v, i) => v * q[i]!)) - mean(p) * mean(q);
  return cov(x, y) / Math.sqrt(cov(x, x) * cov(y, y));
}

const cosine = (a: number[], b: number[]): number => {
  const dot = (p: number[], q: number[]) => p.reduce((sum, v, i) => sum + Math.fround(v) * Math.fround(q[i]!), 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
};

/** Mean over `queries` of the correlation with all others of `among`. */
function expected(
  own: number[][],
  reference: number[][],
  groups: readonly { queries: number[]; among: number[] }[],
): number {
  // prettier-ignore
  const each = groups.flatMap(({ queries, among }) =>
    queries.map((q) => {
      const others = among.filter((i) => i !== q);
      return brute(others.map((i) => cosine(own[q]!, own[i]!)), others.map((i) => cosine(reference[q]!, reference[i]!))); // prettier-ignore
    }),
  );
  return each.reduce((sum, v) => sum + v, 0) / each.length;
}
const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

describe('spearman', () => {
  it('is 1 − 6 Σd² / (n (n² − 1)) where nothing is tied', () => {
    const order = fc.shuffledSubarray([1, 2, 3, 4, 5, 6], { minLength: 6 });
    fc.assert(
      fc.property(order, (b) => {
        const d = b.reduce((sum, v, i) => sum + (v - (i + 1)) ** 2, 0);
        expect(spearman([10, 20, 30, 40, 50, 60], b)).toBeCloseTo(1 - (6 * d) / (6 * 35), 12);
      }),
    );
  });

  it('gives ties their mean rank', () => {
    // Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5.
    expect(spearman([1, 2, 2, 3], [1, 2, 3, 4])).toBeCloseTo(4.5 / Math.sqrt(4.5 * 5), 12);
    expect([spearman([1, 1], [2, 2]), spearman([1, 1], [1, 2]), spearman([1, NaN], [1, 2])]).toEqual([1, 0, NaN]);
  });
});

describe('rank_correlation', () => {
  const [own, reference] = [vectors(10, 1), vectors(10, 50)];

  it('is the mean over samples of the rank correlation of their similarities', () => {
    const result = run(rankCorrelation(), input(own, reference));
    expect(result).toMatchObject({ name: 'rank_correlation', unit: '', reference: 1, samples: 10 });
    expect(result.value).toBeCloseTo(expected(own, reference, [{ queries: range(0, 10), among: range(0, 10) }]), 9);
    expect(result.drop).toBeCloseTo(1 - result.value, 12);
  });

  it('compares within blocks, the last with those seen last, and holds no more', () => {
    const metric = rankCorrelation({ block: 4 });
    const state = [0, 3, 6].reduce((s, i) => metric.add(s, input(own.slice(i, i === 6 ? 10 : i + 3), reference.slice(i, i === 6 ? 10 : i + 3))), metric.start()); // prettier-ignore
    expect([state.own.length, state.float.length]).toEqual([4, 4]);
    const groups = [
      { queries: range(0, 4), among: range(0, 4) },
      { queries: range(4, 8), among: range(4, 8) },
      { queries: [8, 9], among: range(6, 10) },
    ];
    expect(metric.finish(state).value).toBeCloseTo(expected(own, reference, groups), 9);
    // Finishing changes nothing: it may be asked in between.
    expect(metric.finish(state)).toEqual(metric.finish(state));
  });

  it('is 1 for vectors that are scaled, and no number for two samples', () => {
    expect(run(rankCorrelation(), input(own.map((v) => v.map((c) => 4 * c)), own))).toMatchObject({ value: 1, drop: 0 }); // prettier-ignore
    expect(run(rankCorrelation(), input(own.slice(0, 2), own.slice(0, 2))).value).toBe(NaN);
    expect(
      run(
        rankCorrelation(),
        input(
          own.map((v) => v.map(() => NaN)),
          own,
        ),
      ).value,
    ).toBe(NaN);
  });

  describe('pooling', () => {
    // Four samples of two positions of five numbers; the second position of the last two is padding.
    const [tokens, floats] = [vectors(8, 100), vectors(8, 200)];
    const positions = (rows: number[][]) => ({ y: float([4, 2, 5], ...rows.flat()) });
    const mask = (name: string) => ({ [name]: { type: 'int64' as const, dims: [4, 2], data: BigInt64Array.of(1n, 1n, 1n, 1n, 1n, 0n, 1n, 0n) } }); // prettier-ignore
    const given = (feeds = {}): MetricInput => ({ batch: { ...batch(4), feeds }, outputs: positions(tokens), reference: positions(floats) }); // prettier-ignore
    const pooled = (rows: number[][], counted: number[]): number[][] =>
      counted.map((n, s) =>
        range(0, 5).map((c) => (n === 1 ? rows[2 * s]![c]! : rows[2 * s]![c]! + rows[2 * s + 1]![c]!)),
      );
    const want = (counted: number[]): number => expected(pooled(tokens, counted), pooled(floats, counted), [{ queries: range(0, 4), among: range(0, 4) }]); // prettier-ignore

    it('takes the mean over what the mask leaves, all positions, or the first', () => {
      expect(run(rankCorrelation(), given(mask('attention_mask'))).value).toBeCloseTo(want([2, 2, 1, 1]), 6);
      expect(run(rankCorrelation({ mask: 'm' }), given(mask('m'))).value).toBeCloseTo(want([2, 2, 1, 1]), 6);
      expect(run(rankCorrelation(), given()).value).toBeCloseTo(want([2, 2, 2, 2]), 6);
      expect(run(rankCorrelation({ pool: 'first' }), given()).value).toBeCloseTo(want([1, 1, 1, 1]), 6);
    });

    it('refuses what it cannot pool', () => {
      expect(() => run(rankCorrelation({ mask: 'm' }), given(mask('n')))).toThrow(/the model has no input "m"; it has n/); // prettier-ignore
      expect(() => run(rankCorrelation({ pool: 'mean' }), input(own, reference))).toThrow(/output "y" is float32 \[10, 5\], and pool: mean takes floats \[samples, positions, width\]/); // prettier-ignore
      const none = { attention_mask: { type: 'int64' as const, dims: [4, 2], data: new BigInt64Array(8) } };
      expect(() => run(rankCorrelation(), given(none))).toThrow(/metric rank_correlation: the mask leaves no position/); // prettier-ignore
      const short = { attention_mask: { type: 'int64' as const, dims: [4, 3], data: new BigInt64Array(12) } };
      expect(() => run(rankCorrelation(), given(short))).toThrow(/the mask is int64 \[4, 3\]/);
    });
  });
});
