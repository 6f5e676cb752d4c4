import { decibels } from '../numerics/error.ts';
import { distance, type CompareOptions } from './compare.ts';
import type { Metric } from './metric.ts';

/**
 * Signal-to-quantization-noise ratio of the outputs against the float model's, in dB, per output and over all: the energy of
 * the wanted values over the energy of the error, both summed over all samples.
 */
export function sqnr(options: CompareOptions = {}): Metric {
  return distance(options, {
    name: 'sqnr',
    unit: 'dB',
    higherIsBetter: true,
    equal: Infinity,
    summary: 'signal-to-quantization-noise ratio of the outputs, dB',
    // `own` and `float`: the energy of the error, of the model and of the float model.
    start: () => ({ samples: 0, signal: 0, own: 0, float: 0 }),
    add(sums, { own, wanted, float }) {
      let [signal, noise, floatNoise] = [0, 0, 0];
      for (let i = 0; i < own.length; i++) {
        const want = wanted[i]!;
        signal += want * want;
        noise += (want - own[i]!) ** 2;
        floatNoise += (want - float[i]!) ** 2;
      }
      sums.signal += signal;
      sums.own += noise;
      sums.float += floatNoise;
    },
    value: (sums, which) => decibels(sums.signal, sums[which]),
  });
}
