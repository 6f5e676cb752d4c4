import type { Metric } from './metric.ts';
import { argmax, bothScores, startOf, type ScoreOptions } from './select.ts';
import { addShare, finishShare, startShare, type ShareState } from './share.ts';

/**
 * Share of positions where the highest score (or the class that the model itself chose) is of the same class as the float model's, in percent: needs no labels. The float
 * model agrees with itself everywhere, so the drop is 100 minus the value. Where there are labels, padding (−1) is left out.
 */
export function agreement(options: ScoreOptions = {}): Metric<ShareState> {
  return {
    name: 'agreement',
    needs: 'reference',
    perfect: 100,
    summary: "share of samples whose highest score is of the float model's class",
    start: startShare,
    add(state, input) {
      const { batch } = input;
      const { own, float } = bothScores(input, undefined, options, 'agreement');
      for (let sample = 0; sample < batch.count; sample++) {
        const label = batch.targets[sample]?.label;
        const padding = label?.length === own.positions ? label : undefined;
        let [positions, hits] = [0, 0];
        for (let p = 0; p < own.positions; p++) {
          if (padding && padding[p]! < 0) continue;
          positions += 1;
          if (argmax(own, startOf(own, sample, p)) === argmax(float, startOf(float, sample, p))) hits += 1;
        }
        addShare(state, positions, hits, positions);
      }
      return state;
    },
    finish: (state) => finishShare('agreement', state),
  };
}
