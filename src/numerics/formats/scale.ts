import { codeOf, nearestGrid, type Grid } from '../grid.ts';
import type { Fitted, LevelSet, Look } from './format.ts';

const { abs, ceil, fround, log2, max, min, sqrt } = Math;

const smallestNormal = 2 ** -126;
/** Values looked at by a search: the scale that is best for them is within a hundredth of a dB of the best for all. */
const mostValues = 2 ** 14;
/** Candidates of the first look, an even number of octaves apart, and steps of refinement around the best. */
const points = 32;
const refinements = 10;
/** How far below the power that holds the largest value powers of two are tried. */
const octaves = 8;

type Importance = ArrayLike<number> | undefined;

/** Largest magnitude; 0 of nothing. */
export function largestOf(values: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) most = max(most, abs(values[i]!));
  return most;
}

/** A scale that is a normal float32 number: the smallest for what is below; 1 for what has none, all zeros. */
export const normalScale = (scale: number): number =>
  scale > 0 && fround(scale) < Infinity ? max(fround(scale), smallestNormal) : 1;

/** The same for a set without a zero, which holds all zeros at scale 0 only. */
export const scaleOrZero = (scale: number): number => (scale === 0 ? 0 : normalScale(scale));

/** 2^exponent, held between the least and the largest normal powers of two of float32. */
export const powerOfTwo = (exponent: number): number => 2 ** min(127, max(-126, exponent));

/** The scale at which the largest magnitude falls on the outermost level. */
export const scaleToLargest = (values: ArrayLike<number>, { levels }: LevelSet): number =>
  normalScale(largestOf(values) / largestOf(levels));

/** A set as the grid that it is at scale 1. */
export const unitOf = ({ levels, thresholds, unit }: LevelSet): Grid =>
  unit ?? (thresholds ? { levels, thresholds } : nearestGrid(levels));

/** Σ importance·(v − rounded v)² at a scale: without making the grid that is stretched by it, so ties and the last bit aside. */
function errorAt(scale: number, unit: Grid, values: Float32Array, importance: Importance): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    const e = values[i]! - scale * unit.levels[codeOf(unit, values[i]! / scale)]!;
    sum += importance ? e * e * importance[i]! : e * e;
  }
  return sum;
}

/** Values and their importance, thinned out evenly where there are more than a search needs. */
export function sampled(
  values: Float32Array,
  importance: Importance,
  most = mostValues,
): { readonly values: Float32Array; readonly importance: Importance } {
  const every = max(1, ceil(values.length / most));
  if (every === 1) return { values, importance };
  const some = values.filter((_, i) => i % every === 0);
  return { values: some, importance: importance && Float64Array.from(some, (_, i) => importance[i * every]!) };
}

/**
 * The scale of least Σ importance·(v − rounded v)² for a set of levels: from the one that holds the largest value, over four octaves
 * downwards, the best of 32 and golden section around it, and then the scale that is best for the codes found (Lloyd's step, as long as it
 * helps). Never worse than no clipping.
 */
export function leastErrorScale(all: Float32Array, set: LevelSet, look: Pick<Look, 'importance'>): number {
  const whole = scaleToLargest(all, set);
  if (largestOf(all) === 0) return whole;
  const { values, importance } = sampled(all, look.importance);
  const unit = unitOf(set);
  let best = whole;
  let least = Infinity;
  const attempt = (octave: number): number => {
    const scale = normalScale(whole * 2 ** octave);
    const error = errorAt(scale, unit, values, importance);
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
  const golden = (sqrt(5) - 1) / 2;
  let [lo, hi] = [at - gap, at + gap];
  for (let i = 0; i < refinements; i++) {
    const [a, b] = [hi - golden * (hi - lo), lo + golden * (hi - lo)];
    if (attempt(a) < attempt(b)) hi = b;
    else lo = a;
  }
  for (let i = 0; i < refinements; i++) {
    const next = refittedScale(values, unit, best, importance);
    if (next === best) break;
    const error = errorAt(next, unit, values, importance);
    if (error >= least) break;
    [least, best] = [error, next];
  }
  return best;
}

/** The scale of least squared error for the codes that values have at `scale`: Σ v·l / Σ l². */
export function refittedScale(values: Float32Array, unit: Grid, scale: number, importance: Importance): number {
  let [cross, square] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    const level = unit.levels[codeOf(unit, values[i]! / scale)]!;
    const weight = importance?.[i] ?? 1;
    cross += weight * values[i]! * level;
    square += weight * level * level;
  }
  return square > 0 && cross > 0 ? normalScale(cross / square) : scale;
}

/** The power of two of least squared error: of those from the least that clips nothing to eight octaves below it. */
export function leastErrorPower(all: Float32Array, set: LevelSet, look: Pick<Look, 'importance'>): number {
  if (largestOf(all) === 0) return 1;
  const top = ceil(log2(scaleToLargest(all, set)));
  const { values, importance } = sampled(all, look.importance);
  const unit = unitOf(set);
  let [best, least] = [powerOfTwo(top), Infinity];
  for (let e = top; e >= top - octaves; e--) {
    const error = errorAt(powerOfTwo(e), unit, values, importance);
    if (error < least) [best, least] = [powerOfTwo(e), error];
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
