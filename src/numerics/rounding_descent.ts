const mostSweeps = 20;

/**
 * Coordinate descent on the rounding of quantized weights: minimises, for each row q of codes, the quadratic
 *   f(q) = (s∘q) G (s∘q)ᵀ − 2 (s∘q) tᵀ
 * which is the error of the layer's output up to a constant (G second moments of the input, t = w·C the cross term). One code
 * moves by one step at a time, always where f falls; sweeps end when none does. G must be symmetric.
 *
 * @param codes [rows, K], changed in place; they stay in [qmin, qmax].
 * @param scale step of each code, [rows, K].
 * @param gram G, [K, K]. @param target t, [rows, K].
 * @param options.gradient receives G (s∘q) − t of the last row, for callers that want the error at the end.
 * @returns how many codes moved.
 */
export function descendRounding(
  codes: Float64Array,
  scale: Float64Array,
  gram: Float64Array,
  target: Float64Array,
  shape: { readonly rows: number; readonly size: number; readonly qmin: number; readonly qmax: number },
  options: {
    readonly frozen?: Uint8Array;
    readonly gradient?: Float64Array;
  } = {},
): number {
  const { rows, size, qmin, qmax } = shape;
  const { frozen } = options;
  const gradient = options.gradient ?? new Float64Array(size);
  let moved = 0;
  for (let r = 0; r < rows; r++) {
    const at = r * size;
    halfGradient(codes, scale, gram, target, at, size, gradient);
    for (let sweep = 0, last = -1; sweep < mostSweeps && last !== 0; sweep++) {
      last = 0;
      for (let i = 0; i < size; i++) {
        if (frozen && frozen[at + i] === 1) continue;
        const s = scale[at + i]!;
        const curve = s * s * gram[i * size + i]!;
        const slope = gradient[i]! * s;
        const step = slope > 0 ? -1 : 1;
        // f changes by 2·step·slope + curve; a tie must not count, or a flat direction would move for ever.
        if (2 * step * slope + curve >= -1e-12 * Math.abs(curve)) continue;
        const next = codes[at + i]! + step;
        if (next < qmin || next > qmax) continue;
        codes[at + i] = next;
        const change = step * s;
        for (let j = 0, g = i * size; j < size; j++, g++) gradient[j]! += change * gram[g]!;
        last++;
      }
      moved += last;
    }
  }
  return moved;
}

/** ½ ∂f/∂(s∘q) of one row. */
function halfGradient(
  codes: Float64Array,
  scale: Float64Array,
  gram: Float64Array,
  target: Float64Array,
  at: number,
  size: number,
  into: Float64Array,
): void {
  for (let j = 0; j < size; j++) into[j] = -target[at + j]!;
  for (let i = 0; i < size; i++) {
    const w = codes[at + i]! * scale[at + i]!;
    if (w !== 0) for (let j = 0, g = i * size; j < size; j++, g++) into[j]! += w * gram[g]!;
  }
}
