/** A vector whose part outside of a basis is a smaller share of it than this lies within it. */
const within = 1e-6;

const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, v, i) => sum + v * b[i]!, 0);

/** The part of a vector that is orthogonal to an orthonormal basis, of length 1; undefined where there is none. */
export function awayFrom(vector: Float64Array, basis: readonly Float64Array[]): Float64Array | undefined {
  const whole = Math.sqrt(dot(vector, vector));
  const rest = vector.slice();
  // Twice is enough for orthogonality to rounding: Giraud, Langou and Rozložník (2005).
  for (let round = 0; round < 2; round++)
    for (const unit of basis) {
      const along = dot(rest, unit);
      for (let i = 0; i < rest.length; i++) rest[i]! -= along * unit[i]!;
    }
  const length = Math.sqrt(dot(rest, rest));
  return length > within * whole ? rest.map((v) => v / length) : undefined;
}

/** An orthonormal basis of what vectors span, by Gram and Schmidt. */
export function spanOf(vectors: readonly Float64Array[], basis: readonly Float64Array[] = []): Float64Array[] {
  const found = [...basis];
  for (const vector of vectors) {
    const unit = awayFrom(vector, found);
    if (unit) found.push(unit);
  }
  return found;
}

/**
 * How far each vector is from being orthogonal to the others: O_f = Σ_j |ŵ_f · ŵ_j − δ_fj| / J over J vectors ŵ of length 1; a vector of zeros
 * is orthogonal to all. Source: Prakash, Storer, Florencio and Zhang 2019, RePr (arXiv 1811.07275), section 4.
 */
export function overlaps(vectors: readonly Float64Array[]): Float64Array {
  const units = vectors.map((vector) => awayFrom(vector, []) ?? vector);
  const sums = new Float64Array(units.length);
  for (const [f, unit] of units.entries())
    for (let j = 0; j < f; j++) {
      const along = Math.abs(dot(unit, units[j]!));
      sums[f]! += along;
      sums[j]! += along;
    }
  return sums.map((sum) => sum / units.length);
}
