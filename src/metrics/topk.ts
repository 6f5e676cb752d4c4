import * as z from 'zod';
import type { Metric, MetricInput } from './metric.ts';
import { argmax, bothScores, rankOf, startOf, type ScoreOptions, type Scores } from './select.ts';
import { addShare, finishShare, startShare, type ShareState } from './share.ts';

export const scoreOptions = z.strictObject({
  output: z
    .string()
    .min(1)
    .describe('The model output. Default: the first that has scores for every label, or classes.')
    .optional(),
  axis: z.int().describe('Its class axis. Default: the last.').optional(),
});

/**
 * Share of labels among the k highest scores, in percent, with the 95 % Wilson interval, and the drop against the float model
 * with the paired interval: with b answers that only the float model has right and c that only this one has, the drop is
 * (b − c)/n and its standard error √(b + c − (b − c)²/n)/n (McNemar 1947). Of equal scores the lower index comes first.
 * Positions with label −1 are not counted; labels of a sequence are taken as one cluster a sample.
 */
export function topK(k: number, options: ScoreOptions = {}): Metric<ShareState> {
  const name = `top${k}`;
  return {
    name,
    needs: 'labels',
    summary: k === 1 ? 'share of samples whose highest score is the label' : `share of samples whose label is among the ${k} highest scores`, // prettier-ignore
    start: startShare,
    add(state, input) {
      for (const { label, sample, own, float } of labelled(input, options, name)) {
        let [positions, hits, floatHits] = [0, 0, 0];
        for (let p = 0; p < label.length; p++) {
          if (label[p]! < 0) continue;
          positions += 1;
          if (hit(own, startOf(own, sample, p), label[p]!, k)) hits += 1;
          if (hit(float, startOf(float, sample, p), label[p]!, k)) floatHits += 1;
        }
        addShare(state, positions, hits, floatHits);
      }
      return state;
    },
    finish: (state) => finishShare(name, state),
  };
}

function hit(scores: Scores, start: number, label: number, k: number): boolean {
  if (k > 1 || scores.chosen) return rankOf(scores, start, label) < k;
  return argmax(scores, start) === label && !Number.isNaN(scores.data[start + label * scores.inner]);
}

/** The labels of each sample with the scores for them, of this model and of the float one. */
export function* labelled(
  input: MetricInput,
  options: ScoreOptions,
  name: string,
): Generator<{ label: Int32Array; sample: number; own: Scores; float: Scores }> {
  let scores: ReturnType<typeof bothScores> | undefined;
  for (const [sample, target] of input.batch.targets.slice(0, input.batch.count).entries()) {
    const label = target?.label;
    if (label === undefined) continue;
    if (scores?.own.positions !== label.length) scores = bothScores(input, label.length, options, name);
    yield { label, sample, ...scores };
  }
}
