import type { MetricInput } from './metric.ts';
import * as z from 'zod';
import { against } from './against.ts';
import { QtoolError } from '../util/error.ts';
import { argmax, bothScores, startOf, type Scores } from './select.ts';
import { scoreOptions } from './topk.ts';

export const greedyOptions = scoreOptions.extend({
  blank: z.int().min(0).describe('The class that stands for nothing. Default 0.').optional(),
  against: against.optional(),
});

export type GreedyOptions = z.infer<typeof greedyOptions>;

/**
 * What a CTC model reads: the class of the highest score at each position, equal neighbours taken as one, blanks dropped.
 * Source: A. Graves et al., Connectionist Temporal Classification, ICML 2006, section 3.2 (best path decoding).
 */
function greedyDecode(scores: Scores, sample: number, blank: number): number[] {
  const read: number[] = [];
  let last = -1;
  for (let p = 0; p < scores.positions; p++) {
    const best = argmax(scores, startOf(scores, sample, p));
    if (best !== last && best !== blank) read.push(best);
    last = best;
  }
  return read;
}

/** A line as it should be, as this model reads it, and as the float one does: class indexes. */
export interface Line {
  readonly wanted: readonly number[];
  readonly own: readonly number[];
  readonly float: readonly number[];
}

/** The lines of a batch. Samples without a label are left out where labels are what they are judged by; −1 in a label is padding. */
export function* lines(input: MetricInput, options: GreedyOptions, metric: string): Generator<Line> {
  const { blank = 0 } = options;
  const { own, float } = bothScores(input, undefined, options, metric);
  if (blank >= own.classes && !own.chosen)
    throw new QtoolError('data', `metric ${metric}: blank ${blank} is no class of output "${own.name}", which has ${own.classes}`); // prettier-ignore
  for (let sample = 0; sample < input.batch.count; sample++) {
    const label = input.batch.targets[sample]?.label;
    const byLabel = options.against === 'labels';
    if (byLabel && label === undefined) continue;
    const read = greedyDecode(float, sample, blank);
    const wanted = byLabel ? Array.from(label!).filter((one) => one >= 0) : read;
    yield { wanted, own: greedyDecode(own, sample, blank), float: read };
  }
}
