import { throwNotFinite } from './finite.ts';

/** Where the k smallest magnitudes end: all with pattern below `bits` belong to them, and the first `ties` that equal it. */
export interface Cut {
  /** The float32 pattern, sign cleared, of the k-th smallest magnitude. Patterns of floats ≥ 0 are ordered like the floats. */
  readonly bits: number;
  readonly ties: number;
}

/**
 * Exact selection of the k smallest |x| over all of `parts`: two counting passes over the upper 16 and lower 15 bits of the
 * pattern, so linear time, no copy, and no dependence on the data's order. k = 0 selects nothing.
 *
 * @throws QtoolError `data` if an element is NaN or infinite.
 */
export function smallestCut(parts: readonly Float32Array[], k: number, at?: string): Cut {
  if (k <= 0) return { bits: 0, ties: 0 };
  const upper = new Uint32Array(65536);
  for (const part of parts) {
    const words = patterns(part);
    for (let i = 0; i < words.length; i++) upper[(words[i]! & 0x7fffffff) >>> 15]!++;
  }
  // Patterns from 0x7f800000 on are infinity and NaN.
  for (let u = 0x7f800000 >>> 15; u < 65536; u++) {
    if (upper[u] !== 0) for (const part of parts) if (!part.every(Number.isFinite)) throwNotFinite(part, at);
  }
  const high = bucketOf(upper, k);
  const lower = new Uint32Array(32768);
  for (const part of parts) {
    const words = patterns(part);
    for (let i = 0; i < words.length; i++) {
      const bits = words[i]! & 0x7fffffff;
      if (bits >>> 15 === high.bucket) lower[bits & 0x7fff]!++;
    }
  }
  const low = bucketOf(lower, k - high.below);
  return { bits: (high.bucket << 15) | low.bucket, ties: k - high.below - low.below };
}

/** The bucket in which the k-th smallest lies, and how many lie below it. A k beyond all gives the last filled bucket. */
function bucketOf(counts: Uint32Array, k: number): { readonly bucket: number; readonly below: number } {
  let below = 0;
  let bucket = 0;
  for (let b = 0; b < counts.length; b++) {
    const c = counts[b]!;
    if (c === 0) continue;
    bucket = b;
    if (below + c >= k) break;
    below += c;
  }
  return { bucket, below };
}

/** The float32 patterns of `data`, without a copy. */
export function patterns(data: Float32Array): Uint32Array {
  return new Uint32Array(data.buffer, data.byteOffset, data.length);
}

/** Indices of the k smallest scores in rising order; equal scores by rising index. For short lists. */
export function smallestIndices(scores: ArrayLike<number>, k: number): number[] {
  const order = Array.from({ length: scores.length }, (_, i) => i);
  order.sort((a, b) => scores[a]! - scores[b]! || a - b);
  return order.slice(0, k);
}
