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
