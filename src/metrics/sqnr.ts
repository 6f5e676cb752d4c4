import { decibels } from '../numerics/error.ts';
import {
  distanceFacts,
  finishPairs,
  mergeSums,
  pairs,
  perOutput,
  totalOf,
  type CompareOptions,
  type Distance,
} from './compare.ts';
import type { Metric } from './metric.ts';

interface Sums {
  samples: number;
  signal: number;
  /** Energy of the error, of the model and of the float model. */
  own: number;
  float: number;
}
export type SqnrState = Map<string, Sums>;

const distance: Distance = { name: 'sqnr', unit: 'dB', higherIsBetter: true, equal: Infinity };

/**
 * Signal-to-quantization-noise ratio of the outputs against the float model's, in dB, per output and over all: the energy of
 * the wanted values over the energy of the error, both summed over all samples.
 */
export function sqnr(options: CompareOptions = {}): Metric<SqnrState> {
  return {
    ...distanceFacts(distance, options),
    summary: 'signal-to-quantization-noise ratio of the outputs, dB',
    start: () => new Map(),
    add(state, input) {
      for (const { output, own, wanted, float } of pairs(input, options, 'sqnr')) {
        const sums = perOutput(state, output, () => ({ samples: 0, signal: 0, own: 0, float: 0 }));
        let [signal, noise, floatNoise] = [0, 0, 0];
        for (let i = 0; i < own.length; i++) {
          const want = wanted[i]!;
          signal += want * want;
          noise += (want - own[i]!) ** 2;
          floatNoise += (want - float[i]!) ** 2;
        }
        sums.samples += 1;
        sums.signal += signal;
        sums.own += noise;
        sums.float += floatNoise;
      }
      return state;
    },
    merge: mergeSums,
    finish: (state) =>
      finishPairs(state, distance, options, (which, sums = totalOf(state)) =>
        sums ? decibels(sums.signal, sums[which]) : NaN,
      ),
  };
}
