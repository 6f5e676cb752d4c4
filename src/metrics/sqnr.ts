import { mergeSums, pairs, perOutput, totalOf, type CompareOptions } from './compare.ts';
import type { Metric } from './metric.ts';

interface Sums {
  samples: number;
  signal: number;
  noise: number;
  floatNoise: number;
}
export type SqnrState = Map<string, Sums>;

/** 10·log10(Σ wanted² / Σ (wanted − own)²) in dB; Infinity where nothing differs. */
export function decibels(signal: number, noise: number): number {
  return noise === 0 ? Infinity : 10 * Math.log10(signal / noise);
}

/**
 * Signal-to-quantization-noise ratio of the outputs against the float model's, in dB, per output and over all: the energy of
 * the wanted values over the energy of the error, both summed over all samples.
 */
export function sqnr(options: CompareOptions = {}): Metric<SqnrState> {
  return {
    name: 'sqnr',
    needs: 'reference',
    summary: 'signal-to-quantization-noise ratio of the outputs, dB',
    start: () => new Map(),
    add(state, input) {
      for (const { output, own, wanted, float } of pairs(input, options, 'sqnr')) {
        const sums = perOutput(state, output, () => ({ samples: 0, signal: 0, noise: 0, floatNoise: 0 }));
        let [signal, noise, floatNoise] = [0, 0, 0];
        for (let i = 0; i < own.length; i++) {
          const want = wanted[i]!;
          signal += want * want;
          noise += (want - own[i]!) ** 2;
          floatNoise += (want - float[i]!) ** 2;
        }
        sums.samples += 1;
        sums.signal += signal;
        sums.noise += noise;
        sums.floatNoise += floatNoise;
      }
      return state;
    },
    merge: mergeSums,
    finish(state) {
      const total = totalOf(state);
      const value = total ? decibels(total.signal, total.noise) : NaN;
      const reference = total && options.against === 'expected' ? decibels(total.signal, total.floatNoise) : undefined;
      return {
        name: 'sqnr',
        value,
        unit: 'dB',
        higherIsBetter: true,
        samples: Math.max(0, ...[...state.values()].map(({ samples }) => samples)),
        perOutput: Object.fromEntries(
          [...state].map(([output, { signal, noise }]) => [output, decibels(signal, noise)]),
        ),
        ...(reference === undefined ? {} : { reference, drop: reference - value }),
      };
    },
  };
}
