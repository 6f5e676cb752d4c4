import { perplexity } from '../../src/metrics/perplexity.ts';
import type { MetricInput } from '../../src/metrics/metric.ts';

/** One batch of two samples of two positions and four classes. */
function measured(own: number[], float: number[], labels: number[][]) {
  const tensor = (data: number[]) => ({
    y: { type: 'float32' as const, dims: [2, 2, 4], data: Float32Array.from(data) },
  });
  const targets = labels.map((label) => ({ label: Int32Array.from(label) }));
  const batch = { size: 2, count: 2, feeds: {}, targets } as unknown as MetricInput['batch'];
  const metric = perplexity();
  return metric.finish(metric.add(metric.start(), { batch, outputs: tensor(own), reference: tensor(float) }));
}
const even = new Array<number>(16).fill(7);
/** Scores log 3, 0, 0, 0: the first class has half of the likelihood, each other a sixth. */
const leaning = Array.from({ length: 16 }, (_, i) => (i % 4 === 0 ? Math.log(3) : 0));

describe('perplexity', () => {
  it('is the number of equally likely classes, and lower is better', () => {
    const labels = [[0, 1], [2, 3]]; // prettier-ignore
    expect(measured(even, even, labels)).toMatchObject({ samples: 2, higherIsBetter: false, drop: 0, interval: 0 });
    expect(measured(even, even, labels).value).toBeCloseTo(4, 6);
  });

  it('is exp of the mean cost of the labels, without those that are −1', () => {
    const result = measured(leaning, even, [[0, -1], [1, 0]]); // prettier-ignore
    // Costs log 2, log 6, log 2; of the even model log 4 each. Float32 holds log 3 to 7 digits.
    expect(result.value).toBeCloseTo(24 ** (1 / 3), 5);
    expect(result.reference).toBeCloseTo(4, 5);
    expect(result.drop).toBeCloseTo(24 ** (1 / 3) - 4, 5);
    expect(result.dropInterval).toBeGreaterThan(0);
  });
});
