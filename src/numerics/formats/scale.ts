import { codeOf, gridError, scaledGrid } from '../grid.ts';
import type { Fitted, LevelSet, Look } from './format.ts';

const { abs, fround, log2, max, min, round } = Math;

const smallestNormal = 2 ** -126;
/** Values looked at by a search: the scale that is best for them is within a hundredth of a dB of the best for all. */
const mostValues = 2 ** 14;
/** Candidates of the first look, an even number of octaves apart, and steps of refinement around the best. */
const points = 32;
const refinements = 10;

/** Largest magnitude; 0 of nothing. */
export function largestOf(values: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) most = max(most, abs(values[i]!));
  return most;
}

/** A scale that is a normal float32 number: 1 for what has none, all zeros. */
export const normalScale = (scale: number): number => (fround(scale) >= smallestNormal ? fround(scale) : 1);

/** The scale at which the largest magnitude falls on the outermost level. */
export const scaleToLargest = (values: ArrayLike<number>, { levels }: LevelSet): number =>
  normalScale(largestOf(values) / largestOf(levels));

/**
 * The scale of least Σ importance·(v − rounded v)² for a set of levels: from the one that holds the largest value, over four octaves
 * downwards, the best of 32 and golden section around it, and then the scale that is best for the codes found (Lloyd's step, as long as it
 * helps). Never worse than no clipping.
 */
export function leastErrorScale(values: Float32Array, set: LevelSet, { importance }: Pick<Look, 'importance'>): number {
  const whole = scaleToLargest(values, set);
  if (largestOf(values) === 0) return whole;
  const every = max(1, Math.ceil(values.length / mostValues));
  const looked = every === 1 ? values : values.filter((_, i) => i % every === 0);
  const weights = every === 1 || !importance ? importance : Float64Array.from(looked, (_, i) => importance[i * every]!);
  let best = whole;
  let least = Infinity;
  const attempt = (octave: number): number => {
    const scale = normalScale(whole * 2 ** octave);
    const error = gridError(scaledGrid(set, scale), looked, weights);
    if (error < least) [least, best] = [error, scale];
    return error;
  };
  const gap = 4.5 / points;
  let [at, lowest] = [0, Infinity];
  for (let i = 0; i <= points; i++) {
    const octave = 0.5 - i * gap;
    const error = attempt(octave);
    if (error < lowest) [lowest, at] = [error, octave];
  }
  attempt(0);
  const golden = (Math.sqrt(5) - 1) / 2;
  let [lo, hi] = [at - gap, at + gap];
  for (let i = 0; i < refinements; i++) {
    const [a, b] = [hi - golden * (hi - lo), lo + golden * (hi - lo)];
    if (attempt(a) < attempt(b)) hi = b;
    else lo = a;
  }
  for (let i = 0; i < refinements; i++) {
    const next = normalScale(refitted(looked, set, best, weights));
    if (next === best) break;
    const error = gridError(scaledGrid(set, next), looked, weights);
    if (error >= least) break;
    [least, best] = [error, next];
  }
  return best;
}

/** The scale of least squared error for the codes that values have at `scale`: Σ v·l / Σ l². */
function refitted(values: Float32Array, set: LevelSet, scale: number, importance?: ArrayLike<number>): number {
  const grid = scaledGrid(set, scale);
  let [cross, square] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    const level = set.levels[codeOf(grid, values[i]!)]!;
    const weight = importance?.[i] ?? 1;
    cross += weight * values[i]! * level;
    square += weight * level * level;
  }
  return square > 0 && cross > 0 ? cross / square : scale;
}

/** The power of two of least squared error: near the best scale of all. */
export function leastErrorPower(values: Float32Array, set: LevelSet, look: Pick<Look, 'importance'>): number {
  const middle = round(log2(leastErrorScale(values, set, look)));
  let [best, least] = [1, Infinity];
  for (let e = middle - 2; e <= middle + 2; e++) {
    const scale = 2 ** min(127, max(-126, e));
    const error = gridError(scaledGrid(set, scale), values, look.importance);
    if (error < least) [best, least] = [scale, error];
  }
  return best;
}

/** How a scale is chosen, for formats that leave it open. */
export const scaleRules = {
  mse: 'least squared error',
  max: 'the largest value falls on the outermost level',
  power: 'the power of two of least squared error',
} as const;
export type ScaleRule = keyof typeof scaleRules;

/** The parameters of a fixed set of levels. */
export function fitScale(values: Float32Array, set: LevelSet, rule: ScaleRule, look: Look): Fitted {
  if (rule === 'max') return { set, scale: scaleToLargest(values, set) };
  return { set, scale: (rule === 'mse' ? leastErrorScale : leastErrorPower)(values, set, look) };
}
