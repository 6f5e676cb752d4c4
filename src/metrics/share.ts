import type { MetricResult } from './metric.ts';

/** 97.5 % point of the normal distribution. */
const z95 = 1.959963984540054;

/**
 * Counters of a share (right answers among all) and of its difference to the float model's share on the same samples. One
 * sample may have several positions (a sequence): they are not independent, so squares are summed per sample.
 */
export interface ShareState {
  /** Samples with at least one counted position. */
  samples: number;
  positions: number;
  positionsSquared: number;
  hits: number;
  hitsSquared: number;
  hitsPositions: number;
  /** Of the float model. */
  referenceHits: number;
  /** Per sample: float hits − own hits. */
  lostSquared: number;
  lostPositions: number;
}

export function startShare(): ShareState {
  return { samples: 0, positions: 0, positionsSquared: 0, hits: 0, hitsSquared: 0, hitsPositions: 0, referenceHits: 0, lostSquared: 0, lostPositions: 0 }; // prettier-ignore
}

/** Counts one sample: `positions` answers, of which `hits` were right, and `referenceHits` of the float model's. */
export function addShare(state: ShareState, positions: number, hits: number, referenceHits: number): void {
  if (positions === 0) return;
  const lost = referenceHits - hits;
  state.samples += 1;
  state.positions += positions;
  state.positionsSquared += positions * positions;
  state.hits += hits;
  state.hitsSquared += hits * hits;
  state.hitsPositions += hits * positions;
  state.referenceHits += referenceHits;
  state.lostSquared += lost * lost;
  state.lostPositions += lost * positions;
}

/**
 * Half width of the 95 % Wilson score interval of `hits` among `n` independent trials. Source: E. B. Wilson, Probable inference,
 * the law of succession, and statistical inference, JASA 22 (1927).
 */
export function wilsonHalfWidth(hits: number, n: number): number {
  if (n === 0) return NaN;
  const p = hits / n;
  const z2 = z95 * z95;
  return (z95 / (1 + z2 / n)) * Math.sqrt((p * (1 - p)) / n + z2 / (4 * n * n));
}

/**
 * Half width of the 95 % interval of the ratio Σx/Σn over samples (clusters): normal, with the variance of a ratio estimate,
 * Σ(x − r·n)² / (Σn)². With one position a sample it is the binomial (or, for differences, McNemar's) variance.
 * Source: W. G. Cochran, Sampling Techniques (3rd ed. 1977), section 6.4.
 */
export function ratioHalfWidth(sum: number, squares: number, cross: number, n: number, nSquared: number): number {
  const ratio = sum / n;
  const residual = squares - 2 * ratio * cross + ratio * ratio * nSquared;
  return (z95 * Math.sqrt(Math.max(0, residual))) / n;
}

/** The share in percent with its 95 % interval, and the drop in points against the float model with the paired one. */
export function finishShare(name: string, state: ShareState): MetricResult {
  const { samples, positions, hits, referenceHits } = state;
  const lost = referenceHits - hits;
  const single = positions === samples;
  const interval = single
    ? wilsonHalfWidth(hits, positions)
    : ratioHalfWidth(hits, state.hitsSquared, state.hitsPositions, positions, state.positionsSquared);
  return {
    name,
    value: (100 * hits) / positions,
    unit: '%',
    higherIsBetter: true,
    samples,
    interval: 100 * interval,
    reference: (100 * referenceHits) / positions,
    drop: (100 * lost) / positions,
    dropInterval: 100 * ratioHalfWidth(lost, state.lostSquared, state.lostPositions, positions, state.positionsSquared),
  };
}
