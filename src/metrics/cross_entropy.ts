import { likelihood, type LikelihoodOptions } from './likelihood.ts';
import type { Metric } from './metric.ts';
import type { ShareState } from './share.ts';

/** Mean negative log-likelihood of the labels over positions, in nats. */
export function crossEntropy(options: LikelihoodOptions = {}): Metric<ShareState> {
  const summary = 'mean negative log-likelihood of the labels, nats; lower is better';
  return likelihood('cross_entropy', summary, options, { of: (nats) => nats, slope: () => 1 });
}
