import type { MetricInput } from '../../src/metrics/metric.ts';
import { meanIou } from '../../src/metrics/mean_iou.ts';
import fc from '../helpers/fc.ts';
import { batch, float, run } from './support.ts';

const classes = 3;
/** Scores [1, classes, 1, width] whose highest is of the class given at each pixel. */
const planes = (map: number[]) => ({ y: float([1, classes, 1, map.length], ...[0, 1, 2].flatMap((c) => map.map((k) => (k === c ? 2 : 1)))) }); // prettier-ignore
const input = (own: number[], reference: number[], label?: number[]): MetricInput => ({
  batch: { ...batch(1), targets: [label && { label: Int32Array.from(label) }] },
  outputs: planes(own),
  reference: planes(reference),
});

/** By its definition: pixels that are of the class in both over those in either. */
function brute(pairs: readonly (readonly [number, number])[]): number {
  const seen = [0, 1, 2].filter((c) => pairs.some((pair) => pair.includes(c)));
  const each = seen.map((c) => pairs.filter(([a, b]) => a === c && b === c).length / pairs.filter((pair) => pair.includes(c)).length); // prettier-ignore
  return (100 * each.reduce((sum, v) => sum + v, 0)) / seen.length;
}

describe('mean_iou', () => {
  it('is the mean over classes of intersection over union, over all samples together', () => {
    const map = fc.array(fc.tuple(fc.nat(2), fc.nat(2)), { minLength: 2, maxLength: 12 });
    fc.assert(
      fc.property(map, (pairs) => {
        const half = Math.floor(pairs.length / 2);
        const parts = [pairs.slice(0, half), pairs.slice(half)].map((part) => input(part.map(([a]) => a), part.map(([, b]) => b))); // prettier-ignore
        expect(run(meanIou({ axis: 1 }), ...parts).value).toBeCloseTo(brute(pairs), 9);
      }),
    );
  });

  it('judges both models by labels, without −1 and what is to be ignored', () => {
    // Class 0: own 1 of 2, float 2 of 2; class 1: own 1 of 2, float 1 of 1.
    const given = input([0, 1, 1, 0, 2], [0, 0, 1, 2, 2], [0, 0, 1, -1, 255]);
    const result = run(meanIou({ axis: 1, against: 'labels', ignore: 255 }), given);
    expect(result).toMatchObject({ value: 50, reference: 100, drop: 50, samples: 1 });
    expect(() => run(meanIou({ axis: 1, against: 'labels' }), given)).toThrow(/the label 255 is none of the 3 classes of output "y"/); // prettier-ignore
  });

  it('takes classes that the model chose itself, within reason', () => {
    const chosen = (...map: number[]) => ({ y: { type: 'int64' as const, dims: [1, map.length], data: BigInt64Array.from(map, BigInt) } }); // prettier-ignore
    expect(run(meanIou(), { batch: batch(1), outputs: chosen(7, 7), reference: chosen(7, 2) }).value).toBe(25);
    const wild = { batch: batch(1), outputs: chosen(2 ** 40, 7), reference: chosen(7, 7) };
    expect(() => run(meanIou(), wild)).toThrow(/gives 1099511627776, which is no class/);
  });
});
