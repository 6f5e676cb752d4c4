import { QtoolError } from '../util/error.ts';
import { compared, type Metric } from './metric.ts';
import { startOf, type ScoreOptions, type Scores } from './select.ts';
import { ratioHalfWidth } from './share.ts';
import { labelled } from './topk.ts';

/** Sums over samples of the nats that their labels cost, of this model and of the float one. */
interface PerplexityState {
  samples: number;
  positions: number;
  positionsSquared: number;
  nats: number;
  natsSquared: number;
  natsPositions: number;
  reference: number;
  lostSquared: number;
  lostPositions: number;
}

/**
 * exp of the mean negative log-likelihood of the labels under the softmax of the scores, in nats: how many equally likely choices the model is
 * left with (Jelinek et al. 1977). Positions with label −1 are not counted. The 95 % intervals are those of the mean log-likelihood and of its
 * paired difference over samples, carried through exp by its slope.
 */
export function perplexity(options: ScoreOptions = {}): Metric<PerplexityState> {
  const name = 'perplexity';
  return {
    name,
    needs: 'labels',
    summary: 'exp of the mean negative log-likelihood of the labels; lower is better',
    start: () => ({ samples: 0, positions: 0, positionsSquared: 0, nats: 0, natsSquared: 0, natsPositions: 0, reference: 0, lostSquared: 0, lostPositions: 0 }), // prettier-ignore
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
        if (positions === 0) continue;
        const lost = nats - reference;
        state.samples += 1;
        state.positions += positions;
        state.positionsSquared += positions * positions;
        state.nats += nats;
        state.natsSquared += nats * nats;
        state.natsPositions += nats * positions;
        state.reference += reference;
        state.lostSquared += lost * lost;
        state.lostPositions += lost * positions;
      }
      return state;
    },
    finish(state) {
      const { samples, positions, positionsSquared, nats, reference } = state;
      const [value, float] = [Math.exp(nats / positions), Math.exp(reference / positions)];
      const width = (sum: number, squares: number, cross: number): number =>
        value * ratioHalfWidth(sum, squares, cross, positions, positionsSquared);
      return {
        ...compared({ name, value, unit: '', higherIsBetter: false, samples }, float),
        interval: width(nats, state.natsSquared, state.natsPositions),
        dropInterval: width(nats - reference, state.lostSquared, state.lostPositions),
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
