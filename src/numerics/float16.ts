const single = new Float32Array(1);
const word = new Uint32Array(single.buffer);

/** float32 → IEEE 754 binary16 bits, ties to even; overflow to infinity, as Cast does. NaN stays (quiet) NaN. */
export function toFloat16(data: Float32Array): Uint16Array {
  const words = new Uint32Array(data.buffer, data.byteOffset, data.length);
  const out = new Uint16Array(data.length);
  for (let i = 0; i < words.length; i++) out[i] = halfOf(words[i]!);
  return out;
}

/** IEEE 754 binary16 bits → float32, exact. */
export function fromFloat16(bits: Uint16Array): Float32Array {
  const out = new Float32Array(bits.length);
  const words = new Uint32Array(out.buffer);
  for (let i = 0; i < bits.length; i++) words[i] = singleOf(bits[i]!);
  return out;
}

/** bfloat16 bits → float32, exact. */
export function fromBfloat16(bits: Uint16Array): Float32Array {
  const out = new Float32Array(bits.length);
  const words = new Uint32Array(out.buffer);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i]! << 16;
  return out;
}

function halfOf(x: number): number {
  const sign = (x >>> 16) & 0x8000;
  const magnitude = x & 0x7fffffff;
  if (magnitude >= 0x47800000) {
    // 65536 and beyond, infinity, NaN.
    if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x3ff);
    return sign | 0x7c00;
  }
  if (magnitude < 0x38800000) {
    // Below 2^-14: adding 0.5 shifts the value into the low bits of a float32 mantissa, rounded by the processor.
    word[0] = magnitude;
    single[0]! += 0.5;
    return sign | (word[0] - 0x3f000000);
  }
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
}

function singleOf(h: number): number {
  const sign = (h & 0x8000) << 16;
  const magnitude = h & 0x7fff;
  if (magnitude >= 0x7c00) return sign | 0x7f800000 | ((magnitude & 0x3ff) << 13);
  if (magnitude >= 0x400) return sign | ((magnitude << 13) + 0x38000000);
  // Subnormal: magnitude · 2^-24 is a normal float32.
  single[0] = magnitude * 5.9604644775390625e-8;
  return sign | word[0]!;
}
