export type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

export type TypedArrayConstructor = {
  new (length: number): TypedArray;
  new (buffer: ArrayBuffer, byteOffset?: number, length?: number): TypedArray;
  readonly BYTES_PER_ELEMENT: number;
};

export interface DTypeFacts {
  /** What onnx.proto's TensorProto.DataType numbers it. */
  readonly code: number;
  /** The stored width. */
  readonly bits: number;
  /** One element in JavaScript: sub-byte types are unpacked to Int8Array / Uint8Array; float16 and bfloat16 stay bit patterns. */
  readonly array: TypedArrayConstructor | undefined;
}

/** https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (enum DataType); 25 and 26 were read off files. */
const table = {
  float32: { code: 1, bits: 32, array: Float32Array },
  uint8: { code: 2, bits: 8, array: Uint8Array },
  int8: { code: 3, bits: 8, array: Int8Array },
  uint16: { code: 4, bits: 16, array: Uint16Array },
  int16: { code: 5, bits: 16, array: Int16Array },
  int32: { code: 6, bits: 32, array: Int32Array },
  int64: { code: 7, bits: 64, array: BigInt64Array },
  string: { code: 8, bits: 0, array: undefined },
  bool: { code: 9, bits: 8, array: Uint8Array },
  float16: { code: 10, bits: 16, array: Uint16Array },
  float64: { code: 11, bits: 64, array: Float64Array },
  uint32: { code: 12, bits: 32, array: Uint32Array },
  uint64: { code: 13, bits: 64, array: BigUint64Array },
  complex64: { code: 14, bits: 64, array: undefined },
  complex128: { code: 15, bits: 128, array: undefined },
  bfloat16: { code: 16, bits: 16, array: Uint16Array },
  float8e4m3fn: { code: 17, bits: 8, array: Uint8Array },
  float8e4m3fnuz: { code: 18, bits: 8, array: Uint8Array },
  float8e5m2: { code: 19, bits: 8, array: Uint8Array },
  float8e5m2fnuz: { code: 20, bits: 8, array: Uint8Array },
  uint4: { code: 21, bits: 4, array: Uint8Array },
  int4: { code: 22, bits: 4, array: Int8Array },
  float4e2m1: { code: 23, bits: 4, array: Uint8Array },
  float8e8m0: { code: 24, bits: 8, array: Uint8Array },
  uint2: { code: 25, bits: 2, array: Uint8Array },
  int2: { code: 26, bits: 2, array: Int8Array },
} satisfies Record<string, DTypeFacts>;

/** ONNX element types. */
export type DType = keyof typeof table;

export const dtypes: Readonly<Record<DType, DTypeFacts>> = table;

const byCode = new Map(Object.entries(dtypes).map(([name, facts]) => [facts.code, name as DType]));

/** The name of a TensorProto.DataType number; undefined for 0 (UNDEFINED) and numbers this version does not know. */
export function dtypeOf(code: number): DType | undefined {
  return byCode.get(code);
}
