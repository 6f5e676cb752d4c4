const { abs, fround, max, min } = Math;

/** The largest finite float32 number. */
const largestFloat32 = 2 ** 128 - 2 ** 104;

/** The numbers that one group of values may take, and which of them a value is rounded to. The code of a number is its index. */
export interface Grid {
  /** Rising float32 numbers, 1 to 2^16 of them, finite. */
  readonly levels: Float32Array;
  /** thresholds[i]: the smallest float32 number that is rounded to level i + 1 or above. Never falling; one shorter than the levels. */
  readonly thresholds: Float32Array;
}

/** The smallest float32 number that is at least x. */
export function float32From(x: number): number {
  const near = fround(x);
  return near >= x ? near : nextFloat32(near);
}

const word = new Float32Array(1);
const bits = new Int32Array(word.buffer);

/** The float32 number after x. */
export function nextFloat32(x: number): number {
  if (x === 0) return 2 ** -149;
  word[0] = x;
  bits[0]! += x > 0 ? 1 : -1;
  return word[0] + 0;
}

/**
 * The grid of these levels on which every value goes to the nearest. Of two that are equally near the one goes first that is an even
 * number of levels away from the one nearest to 0: ties to even, as IEEE 754 and QuantizeLinear have it.
 */
export function nearestGrid(levels: Float32Array): Grid {
  const zero = nearestToZero(levels);
  const thresholds = new Float32Array(max(0, levels.length - 1));
  for (let i = 0; i < thresholds.length; i++)
    thresholds[i] = between(levels[i]!, levels[i + 1]!, (i + 1 - zero) % 2 === 0);
  return { levels, thresholds };
}

/** The smallest number that goes to `above` and not to `below`, its neighbour. @param up whether their middle goes up. */
function between(below: number, above: number, up: boolean): number {
  // The sum of two float32 numbers is exact as a double unless they lie far apart; then the larger decides.
  const middle = (below + above) / 2;
  const from = float32From(middle);
  // Levels that fall together (below the least number, beyond the largest) have no tie.
  return from === middle && !up && below < above ? nextFloat32(from) : from;
}

function nearestToZero(levels: Float32Array): number {
  let best = 0;
  for (let i = 1; i < levels.length; i++) if (abs(levels[i]!) < abs(levels[best]!)) best = i;
  return best;
}

/** Numbers as levels: finite float32 numbers, rising, each once. */
export const distinctLevels = (levels: Iterable<number>): Float32Array =>
  Float32Array.from(new Set(Float32Array.from(levels, (l) => max(-largestFloat32, min(largestFloat32, l)) + 0))).sort();

/** A grid stretched by a positive scale: levels and, where the grid has its own rule for them, thresholds times the scale, in float32. */
export function scaledGrid({ levels, thresholds }: Partial<Grid> & Pick<Grid, 'levels'>, scale: number): Grid {
  const stretched = levels.map((level) => stretchedLevel(level, scale));
  if (thresholds === undefined) return nearestGrid(stretched);
  return { levels: stretched, thresholds: thresholds.map((t) => float32From(t * scale)) };
}

/** A level times a scale, as `scaledGrid` has it. */
export const stretchedLevel = (level: number, scale: number): number =>
  fround(max(-largestFloat32, min(largestFloat32, level * scale)));

/**
 * The codes that values have in `scaledGrid(set, scale)`, which is not made: where there are more levels than values it would be most of the
 * work. Of the thresholds those are computed that a binary search asks for.
 */
export function codesInSet(
  { levels, thresholds }: Partial<Grid> & Pick<Grid, 'levels'>,
  scale: number,
  values: Float32Array,
): Uint16Array {
  const level = (i: number): number => stretchedLevel(levels[i]!, scale);
  const zero = thresholds ? 0 : zeroOf(levels, level);
  const threshold = thresholds
    ? (i: number): number => fround(float32From(thresholds[i]! * scale))
    : (i: number): number => between(level(i), level(i + 1), (i + 1 - zero) % 2 === 0);
  return Uint16Array.from(values, (x) => firstOf(levels.length - 1, (i) => !(x >= threshold(i))));
}

/** The first of 0 … count − 1 that holds, where all behind it do; count where none does. */
function firstOf(count: number, holds: (i: number) => boolean): number {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** `nearestToZero` of rising levels that are computed when asked for. */
function zeroOf({ length }: Float32Array, level: (i: number) => number): number {
  const above = firstOf(length, (i) => level(i) >= 0);
  const below = above - 1;
  if (above < length && (below < 0 || abs(level(above)) < abs(level(below)))) return above;
  const nearest = level(below);
  return firstOf(length, (i) => level(i) >= nearest);
}

/** The code of the level that x is rounded to. Infinities go to the ends; NaN, which has no code, to 0. */
export function codeOf({ thresholds }: Grid, x: number): number {
  let low = 0;
  let high = thresholds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x >= thresholds[middle]!) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What x is rounded to; NaN stays. */
export function roundTo(grid: Grid, x: number): number {
  return x !== x ? x : grid.levels[codeOf(grid, x)]!;
}

/** Σ importance·(v − rounded v)². @param importance one for each value; 1 where none is given. */
export function gridError(grid: Grid, values: ArrayLike<number>, importance?: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    const e = values[i]! - roundTo(grid, values[i]!);
    sum += e * e * (importance?.[i] ?? 1);
  }
  return sum;
}
