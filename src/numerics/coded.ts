import type { QuantParams } from './format.ts';

const { abs, ceil, fround, log2, max, round } = Math;

/** Bits that all symbols take together when each is coded by how often it occurs: −Σ n·log2(n / total) (Shannon 1948). */
export function entropyBits(counts: Iterable<number>, total: number): number {
  let bits = 0;
  for (const n of counts) if (n > 0) bits -= n * log2(n / total);
  return bits;
}

/** Mean bits a value takes when rounded to multiples of a step and coded by its frequency, for rising steps. */
export interface RateCurve {
  /** log2 of the steps, rising by `octave / stepsAnOctave`. */
  readonly first: number;
  readonly bits: Float64Array;
}

/** Points of a curve for each doubling of the step. */
const stepsAnOctave = 8;
/** Values looked at: their entropy is within some hundredths of a bit of all values'. */
const mostValues = 2 ** 17;
/** The largest code of so many bits; the smallest is its negative. */
const largestOf = (bits: number): number => 2 ** (bits - 1) - 1;

/**
 * The curve of a weight tensor (or several that share a step), from the finest step that codes of `most` bits reach with up to the one that
 * rounds everything to 0. Its slope tends to one bit an octave: entropy ≈ h(w) − log2(step) (Gish and Pierce, Asymptotically
 * efficient quantizing, 1968).
 */
export function rateCurve(values: readonly Float32Array[], most = 8): RateCurve {
  const largestCode = largestOf(most);
  const total = values.reduce((sum, list) => sum + list.length, 0);
  const every = max(1, ceil(total / mostValues));
  const looked: number[] = [];
  let largest = 0;
  for (const list of values)
    for (let i = 0; i < list.length; i++) {
      largest = max(largest, abs(list[i]!));
      if (i % every === 0) looked.push(list[i]!);
    }
  if (largest === 0) return { first: 0, bits: Float64Array.of(0) };
  const first = log2(largest / largestCode);
  const points = ceil(log2(2 * largestCode) * stepsAnOctave) + 2;
  const counts = new Float64Array(2 * largestCode + 1);
  const bits = Float64Array.from({ length: points }, (_, k) => {
    const step = 2 ** (first + k / stepsAnOctave);
    counts.fill(0);
    for (const value of looked) {
      const at = largestCode + round(value / step);
      counts[at]! += 1;
    }
    return entropyBits(counts, looked.length) / looked.length;
  });
  // Small tensors' entropies may rise a little with the step; the curve is to have one step for each rate.
  for (let k = points - 2; k >= 0; k--) bits[k] = max(bits[k]!, bits[k + 1]!);
  return { first, bits };
}

/** The step at which values take so many bits on average, or the finest one that codes reach with. */
export function stepForRate({ first, bits }: RateCurve, rate: number): number {
  let k = 0;
  while (k + 1 < bits.length && bits[k + 1]! >= rate) k++;
  const [high, low] = [bits[k]!, bits[k + 1] ?? 0];
  const part = k + 1 < bits.length && high > rate ? (high - rate) / (high - low) : 0;
  return 2 ** (first + (k + part) / stepsAnOctave);
}

/** int8 codes with one scale for the whole tensor: the step, or what the largest value needs. */
export function codedParams(data: Float32Array, step: number): QuantParams {
  const largest = data.reduce((m, w) => max(m, abs(w)), 0);
  return {
    format: { kind: 'int', bits: 8, signed: true, symmetric: true, narrow: true },
    granularity: { per: 'tensor' },
    scale: Float32Array.of(max(fround(step), fround(largest / largestOf(8)))),
    zeroPoint: Int32Array.of(0),
  };
}
