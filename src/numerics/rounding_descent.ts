/** Sweeps after which descent ends if the caller does not say. */
const usualSweeps = 20;

/** What codes stand for, code i of a matrix [rows, K] having levels of its own. */
export interface CodeLevels {
  value(i: number, code: number): number;
  /** What the value changes by when the code moves one step up (1) or down (−1); 0 where there is no such level. */
  gap(i: number, code: number, step: 1 | -1): number;
}

/** Integers from qmin to qmax times the step of each code. */
export const integerLevels = (scale: Float64Array, qmin: number, qmax: number): CodeLevels => ({
  value: (i, code) => code * scale[i]!,
  gap: (i, code, step) => (code + step < qmin || code + step > qmax ? 0 : step * scale[i]!),
});

/**
 * Coordinate descent on the rounding of quantized weights: minimises, for each row of codes that stand for w̃, the quadratic
 *   f(w̃) = w̃ G w̃ᵀ − 2 w̃ tᵀ
 * which is the error of the layer's output up to a constant (G second moments of the input, t = w·C the cross term). One code
 * moves to its neighbour at a time, always where f falls; sweeps end when none does. f is convex along one weight, so that where no
 * neighbour is better no other level is. G must be symmetric.
 *
 * @param codes [rows, K], changed in place.
 * @param gram G, [K, K]. @param target t, [rows, K].
 * @param options.gradient receives G w̃ − t of the last row, for callers that want the error at the end.
 * @returns how many codes moved.
 */
export function descendRounding(
  codes: Float64Array | Uint16Array,
  levels: CodeLevels,
  gram: Float64Array,
  target: Float64Array,
  { rows, size }: { readonly rows: number; readonly size: number },
  options: {
    readonly frozen?: Uint8Array;
    readonly gradient?: Float64Array;
    readonly sweeps?: number;
  } = {},
): number {
  const { frozen, sweeps = usualSweeps } = options;
  const gradient = options.gradient ?? new Float64Array(size);
  let moved = 0;
  for (let r = 0; r < rows; r++) {
    const at = r * size;
    halfGradient(codes, levels, gram, target, at, size, gradient);
    for (let sweep = 0, last = -1; sweep < sweeps && last !== 0; sweep++) {
      last = 0;
      for (let i = 0; i < size; i++) {
        if (frozen && frozen[at + i] === 1) continue;
        const step = gradient[i]! > 0 ? -1 : 1;
        const change = levels.gap(at + i, codes[at + i]!, step);
        const curve = change * change * gram[i * size + i]!;
        // f changes by 2·change·gradient + curve; a tie must not count, or a flat direction would move for ever.
        if (2 * change * gradient[i]! + curve >= -1e-12 * Math.abs(curve)) continue;
        codes[at + i]! += step;
        for (let j = 0, g = i * size; j < size; j++, g++) gradient[j]! += change * gram[g]!;
        last++;
      }
      moved += last;
    }
  }
  return moved;
}

/** ½ ∂f/∂w̃ of one row. */
function halfGradient(
  codes: Float64Array | Uint16Array,
  levels: CodeLevels,
  gram: Float64Array,
  target: Float64Array,
  at: number,
  size: number,
  into: Float64Array,
): void {
  for (let j = 0; j < size; j++) into[j] = -target[at + j]!;
  for (let i = 0; i < size; i++) {
    const w = levels.value(at + i, codes[at + i]!);
    if (w !== 0) for (let j = 0, g = i * size; j < size; j++, g++) into[j]! += w * gram[g]!;
  }
}
