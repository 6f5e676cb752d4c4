const { floor } = Math;

/**
 * 1.5 · 2^52. Adding it to a double of magnitude below 2^51 leaves no room for a fraction, so the processor rounds the sum to the
 * nearest integer, ties to even (IEEE 754's default mode); subtracting it again gives that integer. About six times as fast as
 * Math.round, which also rounds ties the wrong way (towards +∞). Hot loops write the two operations out.
 */
export const roundingMagic = 6755399441055744;

const limit = 2251799813685248; // 2^51

/** `x` to the nearest integer, ties to even, as ONNX's QuantizeLinear and Round do. Zero comes out as +0; NaN and ±∞ stay. */
export function roundHalfEven(x: number): number {
  if (x < limit && x > -limit) return x + roundingMagic - roundingMagic;
  // From 2^52 on a double is an integer; below, only a half is left to decide. ∞ and NaN fall through as they are.
  const down = floor(x);
  if (down === x || !(x - down === 0.5)) return x;
  return down % 2 === 0 ? down : down + 1;
}
