import * as z from 'zod';
import { QtoolError } from '../util/error.ts';
import { compared, type Metric } from './metric.ts';
import { startOf, type Scores } from './select.ts';
import { addShare, ratioHalfWidth, startShare, type ShareState } from './share.ts';
import { labelled, scoreOptions } from './topk.ts';

export const likelihoodOptions = scoreOptions.extend({
  scores: z
    .enum(['logits', 'probabilities'])
    .describe(
      'What the output holds: logits or log-probabilities (default), or probabilities, where the model ends in Softmax.',
    ) // prettier-ignore
    .optional(),
});

export type LikelihoodOptions = z.infer<typeof likelihoodOptions>;

/**
 * The mean cost of the labels, −log of the probability that the model gives them, in nats, carried through `of` (exp for perplexity). Logits and log-probabilities are
 * one: the softmax of log-probabilities are the probabilities. Positions with label −1 are not counted. The 95 % intervals are those of the mean and of its
 * paired difference over samples, times the slope of `of`.
 */
export function likelihood(
  name: string,
  summary: string,
  options: LikelihoodOptions,
  { of, slope }: { readonly of: (nats: number) => number; readonly slope: (nats: number) => number },
): Metric<ShareState> {
  return {
    name,
    needs: 'labels',
    summary,
    start: startShare,
    add(state, input) {
      for (const { label, sample, own, float } of labelled(input, options, name)) {
        if (own.chosen)
          throw new QtoolError('usage', `metric ${name} needs scores, and "${own.name}" gives the class itself`);
        let [positions, nats, reference] = [0, 0, 0];
        for (let p = 0; p < label.length; p++) {
          if (label[p]! < 0) continue;
          const start = startOf(own, sample, p);
          if (state.positions + positions === 0 && options.scores === undefined && sumsToOne(float, startOf(float, sample, p))) throw notSaid(name, own.name); // prettier-ignore
          const cost = options.scores === 'probabilities' ? ofProbability : ofScores;
          positions += 1;
          nats += cost(own, start, label[p]!);
          reference += cost(float, startOf(float, sample, p), label[p]!);
        }
        // A sample's nats are added up as a share's right answers are.
        addShare(state, positions, nats, reference);
      }
      return state;
    },
    finish(state) {
      const { samples, positions, positionsSquared, hits: nats, referenceHits: reference } = state;
      const [mean, float] = [nats / positions, reference / positions];
      const width = (sum: number, squares: number, cross: number): number =>
        slope(mean) * ratioHalfWidth(sum, squares, cross, positions, positionsSquared);
      return {
        ...compared({ name, value: of(mean), unit: '', higherIsBetter: false, samples }, of(float)),
        interval: width(nats, state.hitsSquared, state.hitsPositions),
        dropInterval: width(reference - nats, state.lostSquared, state.lostPositions),
      };
    },
  };
}

/** −log softmax(scores)[label] in nats; NaN scores give NaN, so that the metric is none. */
function ofScores({ data, classes, inner }: Scores, start: number, label: number): number {
  if (label >= classes) return NaN;
  let most = -Infinity;
  for (let c = 0; c < classes; c++) most = Math.max(most, data[start + c * inner]!);
  let sum = 0;
  for (let c = 0; c < classes; c++) sum += Math.exp(data[start + c * inner]! - most);
  return Math.log(sum) + most - data[start + label * inner]!;
}

/** Infinite where the label has no probability at all. */
const ofProbability = ({ data, classes, inner }: Scores, start: number, label: number): number =>
  label >= classes ? NaN : -Math.log(data[start + label * inner]!);

/** Whether scores look like probabilities: none below 0, and together 1. Float16 sums of thousands are within 1 %. */
function sumsToOne({ data, classes, inner }: Scores, start: number): boolean {
  let sum = 0;
  for (let c = 0; c < classes; c++) {
    const value = data[start + c * inner]!;
    if (!(value >= 0)) return false;
    sum += value;
  }
  return Math.abs(sum - 1) < 0.01;
}

const notSaid = (name: string, output: string): QtoolError =>
  new QtoolError('data', `metric ${name}: the scores of output "${output}" look like probabilities: none is below 0, and they sum to 1`, { hint: `Say what they are: metric: { name: ${name}, scores: probabilities }, or scores: logits.` }); // prettier-ignore
