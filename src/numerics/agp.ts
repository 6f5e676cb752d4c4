/**
 * Sparsity of automated gradual pruning at `progress` 0 to 1 (M. Zhu and S. Gupta, To prune, or not to prune, arXiv
 * 1710.01878): s = final + (initial − final)·(1 − progress)³. Progress beyond its ends stays at them.
 */
export function cubicRamp(initial: number, final: number, progress: number): number {
  const left = 1 - Math.min(1, Math.max(0, progress));
  return final + (initial - final) * left ** 3;
}

/**
 * Progress of an epoch of a policy that runs at start, start + frequency … below end: 0 at the first, 1 at the last of them, as
 * Distiller's AutomatedGradualPruner counts. A policy of one epoch is at 1.
 */
export function rampProgress(epoch: number, start: number, end: number, frequency: number): number {
  const span = Math.floor((end - start - 1) / frequency) * frequency;
  return span <= 0 ? 1 : Math.min(1, (epoch - start) / span);
}

/** When the threshold of `rampedThreshold` rises, in epochs: slowly from `start`, faster from `ramp`, until before `end`. */
export interface ThresholdRamp {
  readonly start: number;
  readonly ramp: number;
  readonly end: number;
  readonly frequency: number;
}

/**
 * Threshold at an epoch, Narang et al. 2017, Exploring Sparsity in Recurrent Neural Networks (arXiv 1704.05119), algorithm 1: it
 * rises by θ a step until `ramp`, by `steeper`·θ from there on. With θ = 2qf / (2(ramp − start) + 3(end − ramp)) and the paper's
 * 1.5 that leads to q (and one step θ more, as the paper counts both ends).
 */
export function rampedThreshold(
  q: number,
  epoch: number,
  { start, ramp, end, frequency }: ThresholdRamp,
  steeper = 1.5,
): number {
  const slope = (2 * q * frequency) / (2 * (ramp - start) + 3 * (end - ramp));
  const early = Math.min(epoch, ramp) - start + 1;
  const late = epoch < ramp ? 0 : epoch - ramp + 1;
  return (slope * (early + steeper * late)) / frequency;
}
