import { QtoolError } from '../util/error.ts';
import { compared, type Metric } from './metric.ts';
import { startOf, type ScoreOptions, type Scores } from './select.ts';
import { addShare, ratioHalfWidth, startShare, type ShareState } from './share.ts';
import { labelled } from './topk.ts';

/**
 * exp of the mean negative log-likelihood of the labels under the softmax of the scores, in nats: how many equally likely choices the model is
 * left with (Jelinek et al. 1977). Positions with label −1 are not counted. The 95 % intervals are those of the mean log-likelihood and of its
 * paired difference over samples, carried through exp by its slope.
 */
export function perplexity(options: ScoreOptions = {}): Metric<ShareState> {
  const name = 'perplexity';
  return {
    name,
    needs: 'labels',
    summary: 'exp of the mean negative log-likelihood of the labels; lower is better',
    start: startShare,
    add(state, input) {
      for (const { label, sample, own, float } of labelled(input, options, name)) {
        if (own.chosen)
          throw new QtoolError('usage', `metric ${name} needs scores, and "${own.name}" gives the class itself`);
        let [positions, nats, reference] = [0, 0, 0];
        for (let p = 0; p < label.length; p++) {
          if (label[p]! < 0) continue;
          positions += 1;
          nats += cost(own, startOf(own, sample, p), label[p]!);
          reference += cost(float, startOf(float, sample, p), label[p]!);
        }
        // A sample's nats are added up as a share's right answers are.
        addShare(state, positions, nats, reference);
      }
      return state;
    },
    finish(state) {
      const { samples, positions, positionsSquared, hits: nats, referenceHits: reference } = state;
      const [value, float] = [Math.exp(nats / positions), Math.exp(reference / positions)];
      const width = (sum: number, squares: number, cross: number): number =>
        value * ratioHalfWidth(sum, squares, cross, positions, positionsSquared);
      return {
        ...compared({ name, value, unit: '', higherIsBetter: false, samples }, float),
        interval: width(nats, state.hitsSquared, state.hitsPositions),
        dropInterval: width(reference - nats, state.lostSquared, state.lostPositions),
      };
    },
  };
}

/** −log softmax(scores)[label] in nats; NaN scores give NaN, so that the metric is none. */
function cost({ data, classes, inner }: Scores, start: number, label: number): number {
  if (label >= classes) return NaN;
  let most = -Infinity;
  for (let c = 0; c < classes; c++) most = Math.max(most, data[start + c * inner]!);
  let sum = 0;
  for (let c = 0; c < classes; c++) sum += Math.exp(data[start + c * inner]! - most);
  return Math.log(sum) + most - data[start + label * inner]!;
}
