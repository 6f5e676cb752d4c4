const { ceil } = Math;

/**
 * Codes of 2 or 4 bits packed into bytes, lowest bits first, as ONNX's raw_data holds INT4, UINT4, INT2 and UINT2 (onnx.proto,
 * TensorProto.raw_data). The last byte's unused high bits are 0. Only the low `bits` of each code are kept.
 */
export function pack(codes: Int8Array | Uint8Array, bits: 2 | 4): Uint8Array {
  const packed = new Uint8Array(ceil((codes.length * bits) / 8));
  if (bits === 4) {
    for (let i = 0; i < codes.length; i++) {
      packed[i >> 1]! |= (codes[i]! & 15) << ((i & 1) << 2);
    }
  } else {
    for (let i = 0; i < codes.length; i++) {
      packed[i >> 2]! |= (codes[i]! & 3) << ((i & 3) << 1);
    }
  }
  return packed;
}
