import { QtoolError } from '../util/error.ts';
import { decibels } from './error.ts';
import { rootOf } from './special.ts';

const { LN10, log, max, min, pow } = Math;

/** One layer: noise at the output s·10^(−κ·β/10) for β bits, at a cost of ρ·β. */
export interface AllocationItem {
  /** ρ: parameters, MACs, bytes per bit … */
  readonly cost: number;
  /** s: noise-to-signal ratio at the output that the layer's fit gives for 0 bits. */
  readonly sensitivity: number;
  /** κ in dB per bit. */
  readonly slope: number;
  readonly min: number;
  readonly max: number;
}

/** Noise-to-signal ratio at the output for the given bits, and what they cost. */
export function noiseOf(items: readonly AllocationItem[], bits: readonly number[]): number {
  return items.reduce((n, { sensitivity, slope }, i) => n + sensitivity * pow(10, (-slope * bits[i]!) / 10), 0);
}

export function costOf(items: readonly AllocationItem[], bits: readonly number[]): number {
  return items.reduce((n, { cost }, i) => n + cost * bits[i]!, 0);
}

/**
 * The general case, reverse water-filling: at the optimum each layer not at one of its ends has noise_i = ρ_i/(λ·κ_i·ln10/10), so
 * β_i = (10/κ_i)·log10(s_i·λ·κ_i·ln10/(10·ρ_i)), cut to [min, max]. One λ fits the constraint, found by bisection: `sqnr` (dB) is
 * reached at least cost, or `budget` (Σ ρ·β) is spent at least noise. Reals; a layer without sensitivity or slope gets its minimum.
 *
 * @throws QtoolError `schedule` if the constraint cannot be met within the layers' limits.
 */
export function waterFill(
  items: readonly AllocationItem[],
  constraint: { readonly sqnr: number } | { readonly budget: number },
): number[] {
  const at = (logLambda: number): number[] =>
    items.map(({ cost, sensitivity, slope, min: lo, max: hi }) => {
      if (sensitivity <= 0 || slope <= 0) return lo;
      if (cost <= 0) return hi;
      const beta = (10 / slope) * ((logLambda + log((sensitivity * slope * LN10) / (10 * cost))) / LN10);
      return min(hi, max(lo, beta));
    });
  const [least, most] = [items.map((i) => i.min), items.map((i) => i.max)];
  const slack = 1 + 1e-12;
  if ('sqnr' in constraint) {
    const noise = pow(10, -constraint.sqnr / 10);
    if (noiseOf(items, most) > noise * slack) {
      const best = decibels(1, noiseOf(items, most));
      throw new QtoolError(
        'schedule',
        `an SQNR of ${constraint.sqnr} dB cannot be reached: all at their most bits give ${best.toFixed(2)} dB`,
      );
    }
    if (noiseOf(items, least) <= noise) return least;
    return at(rootOf((l) => noise - noiseOf(items, at(l)), -800, 800));
  }
  const { budget } = constraint;
  if (costOf(items, least) > budget * slack) {
    throw new QtoolError('schedule', `a budget of ${budget} is below the least possible, ${costOf(items, least)}`);
  }
  if (costOf(items, most) <= budget) return most;
  return at(rootOf((l) => costOf(items, at(l)) - budget, -800, 800));
}
