/**
 * Codes of 2 or 4 bits packed into bytes, lowest bits first, as ONNX's raw_data holds INT4, UINT4, INT2 and UINT2 (onnx.proto,
 * TensorProto.raw_data). The last byte's unused high bits are 0. Only the low `bits` of each code are kept.
 */
export function pack(codes: ArrayLike<number>, bits: number): Uint8Array {
  const perByte = 8 / bits;
  const mask = (1 << bits) - 1;
  const packed = new Uint8Array(Math.ceil(codes.length / perByte));
  const pairs = bits === 4 ? codes.length >> 1 : 0;
  for (let byte = 0; byte < pairs; byte++) packed[byte] = (codes[2 * byte]! & 15) | ((codes[2 * byte + 1]! & 15) << 4);
  for (let i = 2 * pairs, byte = pairs; byte < packed.length; byte++)
    for (let shift = 0; shift < 8 && i < codes.length; shift += bits, i++) packed[byte]! |= (codes[i]! & mask) << shift;
  return packed;
}
