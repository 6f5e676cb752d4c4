import { QtoolError } from '../util/error.ts';

const { ceil } = Math;

/**
 * Codes of 2 or 4 bits packed into bytes, lowest bits first, as ONNX's raw_data holds INT4, UINT4, INT2 and UINT2 (onnx.proto,
 * TensorProto.raw_data). The last byte's unused high bits are 0. Only the low `bits` of each code are kept.
 */
export function pack(codes: Int8Array | Uint8Array, bits: 2 | 4): Uint8Array {
  const packed = new Uint8Array(ceil((codes.length * bits) / 8));
  if (bits === 4) {
    for (let i = 0; i < codes.length; i++) {
      packed[i >> 1] = (packed[i >> 1] as number) | (((codes[i] as number) & 15) << ((i & 1) << 2));
    }
  } else {
    for (let i = 0; i < codes.length; i++) {
      packed[i >> 2] = (packed[i >> 2] as number) | (((codes[i] as number) & 3) << ((i & 3) << 1));
    }
  }
  return packed;
}

/** The first `count` codes of `packed`; signed ones are sign-extended. @throws QtoolError `model` if there are too few bytes. */
export function unpack(packed: Uint8Array, count: number, bits: 2 | 4, signed: false): Uint8Array;
export function unpack(packed: Uint8Array, count: number, bits: 2 | 4, signed: true): Int8Array;
export function unpack(packed: Uint8Array, count: number, bits: 2 | 4, signed: boolean): Int8Array | Uint8Array;
export function unpack(packed: Uint8Array, count: number, bits: 2 | 4, signed: boolean): Int8Array | Uint8Array {
  if (packed.length < ceil((count * bits) / 8)) {
    throw new QtoolError('model', `${packed.length} bytes hold fewer than ${count} elements of ${bits} bits`);
  }
  const codes = signed ? new Int8Array(count) : new Uint8Array(count);
  const high = signed ? 32 - bits : 0;
  const perByte = 8 / bits;
  const mask = 2 ** bits - 1;
  for (let i = 0; i < count; i++) {
    const byte = packed[(i / perByte) | 0] as number;
    const code = (byte >> ((i % perByte) * bits)) & mask;
    codes[i] = (code << high) >> high;
  }
  return codes;
}
