import type { Batch, Feeds } from '../../src/data/types.ts';
import { agreement } from '../../src/metrics/agreement.ts';
import { wilsonHalfWidth } from '../../src/metrics/share.ts';
import { topK } from '../../src/metrics/topk.ts';
import { float, run } from './support.ts';

const batchOf = (labels: readonly (readonly number[] | undefined)[], size = labels.length): Batch => ({
  ids: labels.map(String),
  feeds: {},
  targets: labels.map((label) => label && { label: Int32Array.from(label) }),
  count: labels.length,
  size,
});
/** One-hot scores of predicted classes. */
const oneHot = (predicted: readonly number[], classes: number): Feeds => ({
  y: float([predicted.length, classes], ...predicted.flatMap((p) => Array.from({ length: classes }, (_, c) => (c === p ? 1 : 0)))), // prettier-ignore
});

describe('topK', () => {
  it('counts labels among the k highest scores, the lower index first among equal ones', () => {
    const outputs = { y: float([4, 3], 0.1, 0.5, 0.4, 0.2, 0.2, 0.1, 0.2, 0.2, 0.1, 0, 0, 0) };
    const input = { batch: batchOf([[1], [0], [1], [2]]), outputs, reference: outputs };
    expect(run(topK(1), input)).toMatchObject({
      name: 'top1',
      value: 50,
      unit: '%',
      samples: 4,
      reference: 50,
      drop: 0,
    });
    expect(run(topK(2), input).value).toBe(75);
    expect(run(topK(3), input).value).toBe(100);
  });

  it('gives the Wilson interval and the paired interval of the drop', () => {
    // 10 samples of class 0. Float right on 8, this model on 5: b = 4 (float only), c = 1 (this one only).
    const reference = oneHot([0, 0, 0, 0, 0, 0, 0, 0, 1, 1], 2);
    const outputs = oneHot([1, 1, 1, 1, 0, 0, 0, 0, 0, 1], 2);
    const result = run(topK(1), { batch: batchOf(Array.from({ length: 10 }, () => [0])), outputs, reference });
    expect(result).toMatchObject({ value: 50, reference: 80, drop: 30, samples: 10 });
    // Wilson 95 % for 5 of 10: 0.2366 to 0.7634 (Agresti and Coull 1998 and any table): half width 0.26341.
    expect(result.interval).toBeCloseTo(26.341, 2);
    // z · sqrt(b + c − (b − c)²/n) / n = 1.959964 · sqrt(5 − 0.9) / 10.
    expect(result.dropInterval).toBeCloseTo(100 * 0.1959963985 * Math.sqrt(4.1), 5);
  });

  it('leaves padding samples out', () => {
    const one = { batch: batchOf([[0], [1]], 3), outputs: oneHot([0, 0, 0], 2), reference: oneHot([0, 1, 1], 2) };
    const two = { batch: batchOf([[1]]), outputs: oneHot([1], 2), reference: oneHot([0], 2) };
    const metric = topK(1);
    expect(run(metric, one, two)).toMatchObject({ samples: 3, value: 200 / 3, reference: 200 / 3 });
  });

  it('takes labels of sequences position by position, without -1, one cluster a sample', () => {
    // [2 samples, 3 positions, 2 classes]; predictions 0 1 0 | 1 1 0, labels 0 0 -1 | 1 0 0: 1 of 2 and 2 of 3 right.
    const outputs = { y: float([2, 3, 2], 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0) };
    const result = run(topK(1), { batch: batchOf([[0, 0, -1], [1, 0, 0]]), outputs, reference: outputs }); // prettier-ignore
    expect(result).toMatchObject({ value: 60, samples: 2, drop: 0, dropInterval: 0 });
    // Ratio estimate: residuals 1 − 0.6·2 = −0.2 and 2 − 0.6·3 = 0.2; z · sqrt(0.04 + 0.04) / 5.
    expect(result.interval).toBeCloseTo((100 * 1.959964 * Math.sqrt(0.08)) / 5, 4);
  });

  it('reads [N, C, 1, 1], another class axis and a named output', () => {
    const outputs = { z: float([2], 0, 0), y: float([2, 2, 1, 1], 0, 1, 1, 0) };
    const batch = batchOf([[1], [0]]);
    expect(run(topK(1), { batch, outputs, reference: outputs }).value).toBe(100);
    // Class axis 1 of [1, 2, 3]: classes at positions 0..2 are 1, 0, 1.
    const planes = { y: float([1, 2, 3], 0, 5, 0, 1, 1, 1) };
    const sequence = { batch: batchOf([[1, 0, 1]]), outputs: planes, reference: planes };
    expect(run(topK(1, { output: 'y', axis: 1 }), sequence).value).toBe(100);
    expect(() => run(topK(1, { output: 'logits' }), sequence)).toThrow(/no output "logits".*it has y/);
    expect(() => run(topK(1), { batch: batchOf([[1, 2, 0, 1]]), outputs: planes, reference: planes })).toThrow(/no output has scores for 4 labels a sample; there is y \[1, 2, 3\]/); // prettier-ignore
  });

  it('counts NaN as wrong', () => {
    const outputs = { y: float([2, 2], 1, NaN, NaN, NaN) };
    const input = { batch: batchOf([[0], [0]]), outputs, reference: oneHot([0, 0], 2) };
    expect(run(topK(2), input)).toMatchObject({ value: 50, drop: 50 });
    expect(run(topK(1), input).value).toBe(0);
  });
});

describe('wilsonHalfWidth', () => {
  it('agrees with known values', () => {
    // Newcombe (1998), Statistics in Medicine 17, table I: 81/263 → 0.2553 to 0.3662; 15/148 → 0.0624 to 0.1605; 0/20 → 0 to 0.1611.
    expect(wilsonHalfWidth(81, 263)).toBeCloseTo((0.3662 - 0.2553) / 2, 4);
    expect(wilsonHalfWidth(15, 148)).toBeCloseTo((0.1605 - 0.0624) / 2, 4);
    expect(wilsonHalfWidth(0, 20)).toBeCloseTo(0.1611 / 2, 4);
  });
});

describe('agreement', () => {
  it('compares the highest scores with the float model, without labels', () => {
    const input = {
      batch: batchOf([undefined, undefined, undefined]),
      outputs: oneHot([0, 1, 1], 2),
      reference: oneHot([0, 1, 0], 2),
    };
    expect(run(agreement(), input)).toMatchObject({ name: 'agreement', value: 200 / 3, reference: 100, samples: 3 });
  });

  it('leaves padding of sequences out', () => {
    const own = { y: float([1, 2, 2], 1, 0, 1, 0) };
    const reference = { y: float([1, 2, 2], 1, 0, 0, 1) };
    expect(run(agreement(), { batch: batchOf([[0, -1]]), outputs: own, reference }).value).toBe(100);
  });
});

describe('a model that ends in ArgMax', () => {
  const classes = (dims: readonly number[], ...data: number[]): Feeds => ({ y: { type: 'int64', dims, data: BigInt64Array.from(data, BigInt) } }); // prettier-ignore
  const batch = batchOf([[1], [0], [2], [2]]);

  it('is judged by the classes it chose', () => {
    const input = { batch, outputs: classes([4], 1, 0, 1, 1), reference: classes([4], 1, 0, 2, 1) };
    expect(run(topK(1), input)).toMatchObject({ value: 50, reference: 75, samples: 4 });
    expect(run(agreement(), input)).toMatchObject({ value: 75, samples: 4 });
  });

  it('with several positions, and beside scores, which go first', () => {
    const input = { batch, outputs: classes([4, 2], 1, 0, 1, 1, 0, 0, 0, 0), reference: classes([4, 2], 1, 0, 1, 0, 0, 0, 0, 1) }; // prettier-ignore
    expect(run(agreement(), input).value).toBe(75);
    const both = { ...classes([4], 0, 0, 0, 0), s: oneHot([1, 0, 2, 2], 3).y! };
    expect(run(topK(1), { batch, outputs: both, reference: both }).value).toBe(100);
  });
});
