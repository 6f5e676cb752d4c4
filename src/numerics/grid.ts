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
  for (let i = 0; i < thresholds.length; i++) {
    // The sum of two float32 numbers is exact as a double unless they lie far apart; then the larger decides.
    const middle = (levels[i]! + levels[i + 1]!) / 2;
    const up = (i + 1 - zero) % 2 === 0;
    const from = float32From(middle);
    // Levels that fall together (below the least number, beyond the largest) have no tie.
    thresholds[i] = from === middle && !up && levels[i]! < levels[i + 1]! ? nextFloat32(from) : from;
  }
  return { levels, thresholds };
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
  const stretched = levels.map((level) => max(-largestFloat32, min(largestFloat32, level * scale)));
  if (thresholds === undefined) return nearestGrid(stretched);
  return { levels: stretched, thresholds: thresholds.map((t) => float32From(t * scale)) };
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
