import fc from '../helpers/fc.ts';
import type { Batch } from '../../src/data/types.ts';
import { cer, editDistance } from '../../src/metrics/cer.ts';
import { ctc } from '../../src/metrics/ctc.ts';
import type { MetricInput } from '../../src/metrics/metric.ts';
import { batch, float, run } from './support.ts';

/** One-hot scores of paths, one a sample; four classes. */
const paths = (...all: number[][]) => ({
  y: float([all.length, all[0]!.length, 4], ...all.flatMap((path) => path.flatMap((k) => [0, 1, 2, 3].map((c) => (c === k ? 1 : 0))))), // prettier-ignore
});
const input = (own: number[][], reference: number[][], labels?: number[][]): MetricInput => ({
  batch: { ...batch(own.length), targets: own.map((_, i) => labels && { label: Int32Array.from(labels[i]!) }) } satisfies Batch, // prettier-ignore
  outputs: paths(...own),
  reference: paths(...reference),
});

describe('greedy CTC', () => {
  it('takes equal neighbours as one and drops blanks: the examples of Graves 2006, section 3.1', () => {
    // B(a−ab−) = B(−aa−−abb) = aab, with a = 1, b = 2, blank 0.
    const one = [1, 0, 1, 2, 0, 0, 0, 0];
    const two = [0, 1, 1, 0, 0, 1, 2, 2];
    expect(run(ctc(), input([one], [two]))).toMatchObject({ value: 100, unit: '%', drop: 0, samples: 1 });
    expect(run(ctc({ against: 'labels' }), input([one], [two], [[1, 1, 2]])).value).toBe(100);
    // Without the blank between them the two a are one.
    expect(run(ctc(), input([[1, 1, 1, 2, 0, 0, 0, 0]], [two])).value).toBe(0);
    // Another blank: 0 1 2 against 1 2.
    expect(run(ctc({ blank: 3 }), input([[0, 3, 1, 2]], [[3, 1, 2, 2]])).value).toBe(0);
    expect(run(cer({ blank: 3 }), input([[0, 3, 1, 2]], [[3, 1, 2, 2]])).value).toBe(50);
  });

  it('judges both models by labels, without padding', () => {
    // Labels 1 2 3 and 1; own 1 2 (one deletion) and 1 (right); float both right.
    const given = input([[1, 2, 0], [1, 1, 0]], [[1, 2, 3], [0, 1, 0]], [[1, 2, 3], [1, -1, -1]]); // prettier-ignore
    expect(run(ctc({ against: 'labels' }), given)).toMatchObject({ value: 50, reference: 100, drop: 50 });
    expect(run(cer({ against: 'labels' }), given)).toMatchObject({ value: 25, reference: 0, drop: 25, higherIsBetter: false }); // prettier-ignore
  });

  it('refuses a blank that is no class', () => {
    expect(() => run(ctc({ blank: 4 }), input([[1]], [[1]]))).toThrow(/metric ctc: blank 4 is no class of output "y", which has 4/); // prettier-ignore
  });

  it('has no error rate without characters', () => {
    expect(run(cer(), input([[0]], [[0]])).value).toBe(NaN);
  });
});

describe('editDistance', () => {
  /** By its definition, in exponential time. */
  const brute = (a: number[], b: number[]): number =>
    a.length === 0 || b.length === 0
      ? a.length + b.length
      : Math.min(brute(a.slice(1), b) + 1, brute(a, b.slice(1)) + 1, brute(a.slice(1), b.slice(1)) + (a[0] === b[0] ? 0 : 1)); // prettier-ignore

  it('is the least number of edits', () => {
    const codes = (text: string): number[] => [...text].map((c) => c.charCodeAt(0));
    expect(editDistance(codes('kitten'), codes('sitting'))).toBe(3);
    const line = fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 5 });
    fc.assert(fc.property(line, line, (a, b) => expect(editDistance(a, b)).toBe(brute(a, b))));
  });
});
