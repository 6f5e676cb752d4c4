import { likelihood, type LikelihoodOptions } from './likelihood.ts';
import type { Metric } from './metric.ts';
import type { ShareState } from './share.ts';

/** exp of the cross-entropy: how many equally likely choices the model is left with (Jelinek et al. 1977). */
export function perplexity(options: LikelihoodOptions = {}): Metric<ShareState> {
  const summary = 'exp of the mean negative log-likelihood of the labels; lower is better';
  return likelihood('perplexity', summary, options, { of: Math.exp, slope: Math.exp });
}
