const { abs, exp, log, max, min, pow, sign } = Math;

/** ζ and γ of the stretched sigmoid: it reaches 0 and 1 at finite V. */
const stretch = 1.2;
const offset = -0.1;

/**
 * AdaRound's soft rounding h(V) = clip(1.2·σ(V) − 0.1, 0, 1) (M. Nagel et al., Up or down?, arXiv 2004.10568, equation 23): the
 * share by which a weight is rounded up. The optimization itself runs as an onnxruntime graph; these are the definitions it is
 * held against, and what prepares its start and reads its result.
 */
export function softRound(v: number): number {
  return min(1, max(0, stretch / (1 + exp(-v)) + offset));
}

/** dh/dV: 0 where h is clipped. */
export function softRoundSlope(v: number): number {
  const s = 1 / (1 + exp(-v));
  const h = stretch * s + offset;
  return h <= 0 || h >= 1 ? 0 : stretch * s * (1 - s);
}

/** The V at which h(V) is `h`: the start that leaves each weight where it is, h being what w/s is above its floor (0 ≤ h < 1). */
export function softRoundInverse(h: number): number {
  return -log(stretch / (h - offset) - 1);
}

/** Σ 1 − |2h − 1|^β, which pushes every h to 0 or 1 as β falls (from 20 to 2). */
export function roundingPenalty(v: ArrayLike<number>, beta: number): number {
  let sum = 0;
  for (let i = 0; i < v.length; i++) sum += 1 - pow(abs(2 * softRound(v[i] as number) - 1), beta);
  return sum;
}

/** Its derivative by V. */
export function roundingPenaltySlope(v: number, beta: number): number {
  const d = 2 * softRound(v) - 1;
  return -2 * beta * pow(abs(d), beta - 1) * sign(d) * softRoundSlope(v);
}

/** β at `progress` 0 to 1: 20 during the warm-up, when there is no penalty yet, then down to 2 along a cosine. */
export function annealedBeta(progress: number, warmup = 0.2, start = 20, end = 2): number {
  if (progress <= warmup) return start;
  return end + ((start - end) * (1 + Math.cos((Math.PI * (progress - warmup)) / (1 - warmup)))) / 2;
}
