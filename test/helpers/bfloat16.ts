/** float32 → bfloat16 bits, ties to even. NaN stays (quiet) NaN. */
export function toBfloat16(data: Float32Array): Uint16Array {
  const words = new Uint32Array(data.buffer, data.byteOffset, data.length);
  const out = new Uint16Array(data.length);
  for (let i = 0; i < words.length; i++) {
    const x = words[i] as number;
    const nan = (x & 0x7fffffff) > 0x7f800000;
    // Half of the last kept bit, less one, plus the last kept bit itself: exact ties go up only if that makes the bit even.
    out[i] = nan ? (x >>> 16) | 0x40 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  }
  return out;
}
