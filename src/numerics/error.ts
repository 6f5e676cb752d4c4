import { QtoolError } from '../util/error.ts';

const { log10 } = Math;

type Floats = Float32Array | Float64Array;

/** What the error measures are made of; sums of disjoint parts add up. */
export interface ErrorSums {
  readonly count: number;
  /** Σ x² of the reference. */
  readonly signal: number;
  /** Σ (x − y)². */
  readonly noise: number;
  /** Σ x·y and Σ y². */
  readonly dot: number;
  readonly power: number;
  /** max |x − y|. */
  readonly worst: number;
}

/** An infinity that is the same in both, such as a mask, is no error and no signal. @throws QtoolError `data` if the lengths differ. */
export function errorSums(reference: Floats, approximation: Floats): ErrorSums {
  const { length } = reference;
  if (approximation.length !== length)
    throw new QtoolError('data', `${length} values cannot be compared with ${approximation.length}`);
  let signal = 0;
  let noise = 0;
  let dot = 0;
  let power = 0;
  let worst = 0;
  let count = length;
  for (let i = 0; i < length; i++) {
    const x = reference[i]!;
    const y = approximation[i]!;
    const e = x - y;
    if (x === y && e !== 0) {
      count--;
      continue;
    }
    signal += x * x;
    noise += e * e;
    dot += x * y;
    power += y * y;
    if (e > worst) worst = e;
    else if (-e > worst) worst = -e;
  }
  return { count, signal, noise, dot, power, worst };
}

/** 10·log10(signal / noise) in dB. No noise at all gives +∞, noise without a signal −∞. */
export function decibels(signal: number, noise: number): number {
  if (noise === 0) return Infinity;
  return 10 * log10(signal / noise);
}

/** Signal-to-quantization-noise ratio in dB: 10·log10(Σx² / Σ(x−y)²). */
export function sqnr(reference: Floats, approximation: Floats): number {
  const { signal, noise } = errorSums(reference, approximation);
  return decibels(signal, noise);
}
