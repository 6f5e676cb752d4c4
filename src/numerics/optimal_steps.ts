import { decibels } from './error.ts';
import { narrowed, normalDensity, normalTail } from './special.ts';

const { SQRT2, exp, sqrt } = Math;

/** Distributions of mean 0 and variance 1. */
export type Model = 'gauss' | 'laplace' | 'uniform';

/** ∫ₐ^∞ of 1, x and x² times the density, a ≥ 0. */
function tails(model: Exclude<Model, 'uniform'>, a: number): readonly [number, number, number] {
  if (model === 'gauss') {
    const t = normalTail(a);
    const d = normalDensity(a);
    return [t, d, t + a * d];
  }
  const b = 1 / SQRT2;
  const e = exp(-a / b) / 2;
  return [e, (a + b) * e, (a * a + 2 * a * b + 2 * b * b) * e];
}

/**
 * Mean squared error of the symmetric uniform quantizer with 2^bits levels ±step/2, ±3·step/2, … for a model of variance 1;
 * values beyond the outermost level go to it. Exact up to 12 bits; above, the inner cells are taken as step²/12 each.
 */
export function quantizerError(model: Model, step: number, bits: number): number {
  const half = 2 ** (bits - 1);
  if (model === 'uniform') return uniformError(step, half);
  const inner = half - 1;
  let sum = 0;
  if (bits > 12) {
    sum = (tails(model, 0)[0] - tails(model, inner * step)[0]) * ((step * step) / 12);
  } else {
    let [p0, p1, p2] = tails(model, 0);
    for (let k = 0; k < inner; k++) {
      const [n0, n1, n2] = tails(model, (k + 1) * step);
      const r = (k + 0.5) * step;
      sum += p2 - n2 - 2 * r * (p1 - n1) + r * r * (p0 - n0);
      [p0, p1, p2] = [n0, n1, n2];
    }
  }
  const [t0, t1, t2] = tails(model, inner * step);
  const r = (inner + 0.5) * step;
  return 2 * (sum + t2 - 2 * r * t1 + r * r * t0);
}

/** Density 1/(2√3) on [−√3, √3]: whole cells cost step²/12, what lies beyond the last level its squared distance. */
function uniformError(step: number, half: number): number {
  const end = sqrt(3);
  let sum = 0;
  for (let k = 0; k < half; k++) {
    const lo = k * step;
    const hi = k === half - 1 ? end : Math.min(end, lo + step);
    if (lo >= end) break;
    const r = lo + step / 2;
    sum += ((hi - r) ** 3 - (lo - r) ** 3) / 3;
  }
  return sum / end;
}

/** The step of least mean squared error, for variance 1 (times σ for any other). J. Max 1960 for the Gaussian. */
export function optimalStep(model: Model, bits: number): number {
  if (model === 'uniform') return (2 * sqrt(3)) / 2 ** bits;
  // The error falls, then rises with the step: golden section between no clipping to speak of and clipping at σ/2.
  const [lo, hi] = narrowed(
    (step) => quantizerError(model, step, bits),
    [1 / 2 ** bits, 50 / 2 ** bits],
    (from, to) => to - from > 1e-8 * to,
  );
  return (lo + hi) / 2;
}

/** SQNR in dB of the best symmetric uniform quantizer of `bits` bits. */
export function modelSqnr(model: Model, bits: number): number {
  return decibels(1, quantizerError(model, optimalStep(model, bits), bits));
}
