import { crossEntropy } from '../../src/metrics/cross_entropy.ts';
import { perplexity } from '../../src/metrics/perplexity.ts';
import type { MetricResult } from '../../src/metrics/metric.ts';
import { batch, float, run } from './support.ts';

/** Two samples of one position and three classes, of labels 0 and 2. */
const measured = (
  make: typeof crossEntropy,
  scores: 'logits' | 'probabilities' | undefined,
  rows: number[],
): MetricResult => {
  // prettier-ignore
  const labelled = { ...batch(2), targets: [{ label: Int32Array.of(0) }, { label: Int32Array.of(2) }] };
  const y = { y: float([2, 3], ...rows) };
  return run(make(scores ? { scores } : {}), { batch: labelled, outputs: y, reference: y });
};
const shares = [0.5, 0.25, 0.25, 0.125, 0.125, 0.75];
// Closed form: the labels' probabilities are 1/2 and 3/4.
const nats = -(Math.log(0.5) + Math.log(0.75)) / 2;

describe('cross_entropy', () => {
  it('is the mean of −log p, of logits, log-probabilities and probabilities alike', () => {
    // Float32 holds the logarithms to 7 digits.
    const logs = shares.map(Math.log);
    expect(measured(crossEntropy, undefined, logs).value).toBeCloseTo(nats, 6);
    expect(measured(crossEntropy, 'logits', logs.map((v) => v + 3)).value).toBeCloseTo(nats, 6); // prettier-ignore
    expect(measured(crossEntropy, 'probabilities', shares).value).toBeCloseTo(nats, 6);
    expect(measured(perplexity, 'probabilities', shares).value).toBeCloseTo(Math.exp(nats), 6);
    expect(measured(crossEntropy, undefined, logs)).toMatchObject({ name: 'cross_entropy', drop: 0, samples: 2 });
    // Of two values a and b the 95 % half width is 1.96 · sqrt(2 ((a − b) / 2)²) / 2.
    const half = (1.959964 * Math.SQRT2 * Math.abs(Math.log(0.5 / 0.75))) / 4;
    expect(measured(crossEntropy, undefined, logs).interval).toBeCloseTo(half, 5);
  });

  it('asks where scores look like probabilities and nothing says so', () => {
    expect(() => measured(crossEntropy, undefined, shares)).toThrow(/metric cross_entropy: the scores of output "y" look like probabilities/); // prettier-ignore
    expect(() => measured(perplexity, undefined, shares)).toThrow(/metric perplexity: .*look like probabilities/);
    expect(measured(crossEntropy, 'logits', shares).value).toBeGreaterThan(nats);
  });

  it('is infinite where a label has no probability', () => {
    expect(measured(crossEntropy, 'probabilities', [0, 1, 0, 0, 0, 1]).value).toBe(Infinity);
  });
});
