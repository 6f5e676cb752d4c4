import { decibels } from './error.ts';
import type { Model } from './optimal_steps.ts';

const { abs, pow } = Math;

/**
 * SQNR in dB at the output of steps that each add independent noise: 1/γ = Σ 1/γ_i with γ linear (D. Lin et al., Fixed point
 * quantization of deep convolutional networks, ICML 2016, equation 12). No steps: +∞.
 */
export function composeSqnr(steps: readonly number[]): number {
  const noise = steps.reduce((sum, dB) => sum + pow(10, -dB / 10), 0);
  return decibels(1, noise);
}

/** dB = slope·bits + offset by least squares: slope is Lin et al.'s κ. Infinite points are left out. */
export function fitSlope(
  bits: readonly number[],
  decibels: readonly number[],
): { readonly slope: number; readonly offset: number } | undefined {
  const points = bits.map((b, i) => [b, decibels[i]!] as const).filter(([, dB]) => Number.isFinite(dB));
  const n = points.length;
  const mb = points.reduce((s, [b]) => s + b, 0) / n;
  const md = points.reduce((s, [, d]) => s + d, 0) / n;
  const variance = points.reduce((s, [b]) => s + (b - mb) ** 2, 0);
  if (n < 2 || variance === 0) return undefined;
  const slope = points.reduce((s, [b, d]) => s + (b - mb) * (d - md), 0) / variance;
  return { slope, offset: md - slope * mb };
}

/** Mean |x − μ| over σ: what tells the models apart. √(2/π), 1/√2, √3/2. */
const spreads: Readonly<Record<Model, number>> = { gauss: 0.7978845608, laplace: 0.7071067812, uniform: 0.8660254038 };

/** The model whose ratio of mean deviation to standard deviation is nearest to the data's. */
export function closestModel(meanDeviation: number, standardDeviation: number): Model {
  const ratio = standardDeviation === 0 ? spreads.gauss : meanDeviation / standardDeviation;
  const models = Object.keys(spreads) as Model[];
  return models.reduce((best, m) => (abs(spreads[m] - ratio) < abs(spreads[best] - ratio) ? m : best));
}
