/** Reproducible random numbers in [0, 1): a 32-bit mixing generator (mulberry32). */
export function random(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Standard normal variables (Box-Muller). */
export function gaussian(seed: number): () => number {
  const u = random(seed);
  return () => Math.sqrt(-2 * Math.log(1 - u())) * Math.cos(2 * Math.PI * u());
}

/** Laplace variables with scale b = 1 (variance 2), by inversion. */
export function laplacian(seed: number): () => number {
  const u = random(seed);
  return () => {
    const v = u() - 0.5;
    return -Math.sign(v) * Math.log(1 - 2 * Math.abs(v));
  };
}

export function fill(count: number, next: () => number): Float32Array {
  return Float32Array.from({ length: count }, next);
}
