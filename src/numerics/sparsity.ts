import { QtoolError } from '../util/error.ts';
import { forEachRun, layoutOf } from './layout.ts';
import { patterns, smallestCut, smallestIndices } from './select.ts';

const { abs, ceil, round, sqrt } = Math;

/** One entry an element: 1 keeps it, 0 makes it zero. */
export type Mask = Uint8Array<ArrayBuffer>;

/**
 * Zeroes the round(share·n) elements of smallest magnitude, exactly so many: of equal magnitudes the first ones. Elements that
 * are zero already are among them.
 */
export function levelMask(data: Float32Array, share: number, at?: string): Mask {
  return globalLevelMasks([data], share, at)[0]!;
}

/** `levelMask` with one threshold for all `parts`: round(share·total) zeros over all of them. `parts` may be scores ≥ 0. */
export function globalLevelMasks(parts: readonly Float32Array[], share: number, at?: string): Mask[] {
  if (!(share >= 0 && share <= 1)) throw new QtoolError('schedule', `a sparsity is 0 to 1, not ${share}`, { at });
  const total = parts.reduce((n, p) => n + p.length, 0);
  const cut = smallestCut(parts, round(share * total), at);
  let { ties } = cut;
  return parts.map((part) => {
    const words = patterns(part);
    const mask = new Uint8Array(part.length);
    for (let i = 0; i < words.length; i++) {
      const bits = words[i]! & 0x7fffffff;
      if (bits > cut.bits) mask[i] = 1;
      else if (bits === cut.bits) mask[i] = ties-- > 0 ? 0 : 1;
    }
    return mask;
  });
}

/** `levelMask` of every row of a [rows, cols] matrix by itself. */
export function rowLevelMask(
  data: Float32Array,
  [rows, cols]: readonly [number, number],
  share: number,
  at?: string,
): Mask {
  const mask = new Uint8Array(data.length);
  for (let r = 0; r < rows; r++) mask.set(levelMask(data.subarray(r * cols, (r + 1) * cols), share, at), r * cols);
  return mask;
}

/** Zeroes |x| ≤ threshold (Distiller's MagnitudeParameterPruner and SensitivityPruner keep only what is above). */
export function magnitudeMask(data: Float32Array, threshold: number): Mask {
  const mask = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i++) mask[i] = abs(data[i]!) > threshold ? 1 : 0;
  return mask;
}

/** Standard deviation with n − 1, as torch.std has it: the unit of SensitivityPruner's thresholds. 0 for fewer than two elements. */
export function standardDeviation(data: Float32Array): number {
  if (data.length < 2) return 0;
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += data[i]!;
  const mean = sum / data.length;
  let squares = 0;
  for (let i = 0; i < data.length; i++) squares += (data[i]! - mean) ** 2;
  return sqrt(squares / (data.length - 1));
}

/**
 * Keeps the n largest magnitudes of every m consecutive elements along `axis` (2:4 and the like); of a ragged last group of r
 * elements ⌈n·r/m⌉. Of equal magnitudes the later ones stay. `scores` may replace the magnitudes.
 *
 * @throws QtoolError `schedule` unless 0 ≤ n ≤ m and m ≥ 1 are integers.
 */
export function nmMask(scores: Float32Array, dims: readonly number[], axis: number, n: number, m: number): Mask {
  if (!Number.isInteger(n) || !Number.isInteger(m) || n < 0 || m < 1 || n > m) {
    throw new QtoolError('schedule', `N:M sparsity keeps n of m elements with 0 ≤ n ≤ m, not ${n} of ${m}`);
  }
  const { outer, axis: length, inner } = layoutOf(dims, { per: 'channel', axis });
  const mask = new Uint8Array(scores.length);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      for (let start = 0; start < length; start += m) {
        const size = Math.min(m, length - start);
        const base = (o * length + start) * inner + i;
        for (let left = ceil((n * size) / m); left > 0; left--) {
          let best = -1;
          let largest = -1;
          for (let j = 0; j < size; j++) {
            const at = base + j * inner;
            const v = abs(scores[at]!);
            if (mask[at] === 0 && v >= largest) {
              largest = v;
              best = at;
            }
          }
          if (best >= 0) mask[best] = 1;
        }
      }
    }
  }
  return mask;
}

/**
 * Zeroes round(share·blocks) whole blocks of a [rows, cols] matrix, those of least mean |x| (or mean x² under a root: `l2`);
 * blocks at the edges may be smaller, which the mean allows for. Of equal blocks the first ones, row by row.
 */
export function blockMask(
  data: Float32Array,
  [rows, cols]: readonly [number, number],
  [height, width]: readonly [number, number],
  share: number,
  norm: 'l1' | 'l2' = 'l1',
): Mask {
  if (!(share >= 0 && share <= 1)) throw new QtoolError('schedule', `a sparsity is 0 to 1, not ${share}`);
  const across = ceil(cols / width);
  const scores = new Float64Array(ceil(rows / height) * across);
  const sizes = new Float64Array(scores.length);
  const blockOf = (i: number) => Math.floor(Math.floor(i / cols) / height) * across + Math.floor((i % cols) / width);
  for (let i = 0; i < data.length; i++) {
    const b = blockOf(i);
    const v = data[i]!;
    scores[b]! += norm === 'l1' ? abs(v) : v * v;
    sizes[b]! += 1;
  }
  scores.forEach((s, b) => (scores[b] = s / sizes[b]!));
  const gone = new Set(smallestIndices(scores, round(share * scores.length)));
  return Uint8Array.from(data, (_, i) => (gone.has(blockOf(i)) ? 0 : 1));
}

/** Norm of each slice along `axis` (filter, channel, row): Σ|x| or √Σx². */
export function sliceNorms(
  data: Float32Array,
  dims: readonly number[],
  axis: number,
  norm: 'l1' | 'l2' = 'l1',
): Float64Array {
  const layout = layoutOf(dims, { per: 'channel', axis });
  const out = new Float64Array(layout.params);
  forEachRun(layout, (start, count, param, step) => {
    for (let j = 0, p = param; j < count; j++, p += step) {
      const v = data[start + j]!;
      out[p]! += norm === 'l1' ? abs(v) : v * v;
    }
  });
  return norm === 'l1' ? out : out.map(sqrt);
}

/** `data` with zeros where the mask has them; the others unchanged. */
export function applyMask(data: Float32Array, mask: Mask): Float32Array {
  const out = new Float32Array(data.length);
  for (let i = 0; i < data.length; i++) out[i] = mask[i] === 0 ? 0 : data[i]!;
  return out;
}
