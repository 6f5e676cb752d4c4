import * as z from 'zod';
import { float32From } from '../grid.ts';
import type { Fitted, Format, Look } from './format.ts';
import { basesOption } from './options.ts';

const { ceil, fround, log2, sqrt } = Math;

const options = z.strictObject({ bases: basesOption(3) });

/**
 * Σ aᵢ·Bᵢ with Bᵢ = sign(w − mean + uᵢ·std), uᵢ evenly from −1 to 1, and the a of least squared error for them. The signs change at M thresholds, so M bases are
 * only M + 1 levels: log2(M + 1) bits when stored as codes. A base whose factor would not be positive is dropped.
 */
export const abc = {
  name: 'abc',
  summary: 'M signs shifted by parts of the deviation, with factors by least squares: M + 1 levels',
  source: 'Lin, Zhao and Pan 2017, ABC-Net (arXiv 1711.11294), section 3.1',
  options,
  sharing: () => 'channel',
  notActivations: 'it is a format of weights; int is the like for activations',
  bits: ({ bases }) => ceil(log2(bases + 1)),
  fit,
} satisfies Format<z.infer<typeof options>>;

function fit(values: Float32Array, { bases }: z.infer<typeof options>, { importance }: Look): Fitted {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  const std = sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length);
  const shift = (i: number): number => (bases === 1 ? 0 : -1 + (2 * i) / (bases - 1));
  // Rising: the base of the largest shift changes sign first. Without a deviation all fall together.
  const all = Array.from({ length: bases }, (_, i) => float32From(mean - shift(bases - 1 - i) * std));
  for (let thresholds = [...new Set(all)]; thresholds.length > 0;) {
    const [counts, sums] = perInterval(values, thresholds, importance);
    // A threshold with nothing between it and the next, or beyond it, tells nothing.
    const idle = counts[0] === 0 ? 0 : counts.indexOf(0) - 1;
    if (idle >= 0) {
      thresholds = thresholds.filter((_, i) => i !== idle);
      continue;
    }
    const factors = leastSquares(counts, sums);
    const bad = factors.findIndex((a) => !(a > 0));
    if (bad < 0) return { set: { levels: stairs(factors), thresholds: Float32Array.from(thresholds) }, scale: 1 };
    thresholds = thresholds.filter((_, i) => i !== bad);
  }
  return { set: { levels: Float32Array.of(fround(mean)) }, scale: 1 };
}

/** How much counts, and its weighted sum, between the thresholds. */
function perInterval(
  values: Float32Array,
  thresholds: readonly number[],
  importance: Look['importance'],
): readonly [Float64Array, Float64Array] {
  const [counts, sums] = [new Float64Array(thresholds.length + 1), new Float64Array(thresholds.length + 1)];
  for (let i = 0; i < values.length; i++) {
    const at = thresholds.filter((t) => values[i]! >= t).length;
    const w = importance?.[i] ?? 1;
    counts[at]! += w;
    sums[at]! += w * values[i]!;
  }
  return [counts, sums];
}

/** Sign of base i between thresholds j − 1 and j. */
const signOf = (i: number, j: number): number => (j > i ? 1 : -1);

/** The a of least Σ count·(mean − Σ aᵢ·signᵢ)²: the normal equations, by elimination with pivots. */
function leastSquares(counts: Float64Array, sums: Float64Array): number[] {
  const n = counts.length - 1;
  const rows = Array.from({ length: n }, (_, i) => [
    ...Array.from({ length: n }, (_x, k) => counts.reduce((s, c, j) => s + c * signOf(i, j) * signOf(k, j), 0)),
    sums.reduce((s, v, j) => s + v * signOf(i, j), 0),
  ]);
  for (let p = 0; p < n; p++) {
    const pivot = rows.findIndex(
      (row, i) => i >= p && Math.abs(row[p]!) === Math.max(...rows.slice(p).map((r) => Math.abs(r[p]!))),
    );
    [rows[p], rows[pivot]] = [rows[pivot]!, rows[p]!];
    for (let i = 0; i < n; i++) {
      if (i === p) continue;
      const factor = rows[i]![p]! / rows[p]![p]!;
      rows[i] = rows[i]!.map((x, k) => x - factor * rows[p]![k]!);
    }
  }
  return rows.map((row, i) => row[n]! / row[i]!);
}

/** The level of each interval: all factors negative, then one more positive at each threshold. */
function stairs(factors: readonly number[]): Float32Array {
  const whole = factors.reduce((a, b) => a + b, 0);
  let sum = -whole;
  return Float32Array.from([sum, ...factors.map((a) => (sum += 2 * a))]);
}
