/** Bytes of one bit plane of `count` elements. */
export const planeBytes = (count: number): number => Math.ceil(count / 8);

/**
 * The lowest `bits` bits of each number as bit planes, one after the other, the lowest first; in each, element i is bit
 * i mod 8 of byte floor(i / 8).
 */
export function packPlanes(numbers: ArrayLike<number>, bits: number): Uint8Array {
  const bytes = planeBytes(numbers.length);
  const planes = new Uint8Array(bits * bytes);
  for (let bit = 0; bit < bits; bit++)
    for (let i = 0; i < numbers.length; i++) {
      const at = bit * bytes + (i >> 3);
      planes[at] = planes[at]! | (((numbers[i]! >> bit) & 1) << (i & 7));
    }
  return planes;
}

/** 1, 2, 4 …, the weights of bit planes; the last one negative for two's complement. */
export function planeWeights(bits: number, signed = false): Int8Array {
  return Int8Array.from({ length: bits }, (_, bit) => (signed && bit === bits - 1 ? -(2 ** bit) : 2 ** bit));
}

/** Bits that hold the numbers 0 to `most`. */
export const bitsFor = (most: number): number => (most === 0 ? 0 : 32 - Math.clz32(most));
