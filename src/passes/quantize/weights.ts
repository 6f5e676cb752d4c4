import type { DType } from '../../graph/dtype.ts';
import type { Codes } from '../../numerics/affine.ts';
import type { QuantParams } from '../../numerics/format.ts';

/** The ONNX type that holds codes of a width: the runtime's integer kernels take 8 bits, so narrower codes sit in those. */
export function storageType(format: QuantParams['format']): 'int8' | 'uint8' | 'int16' | 'uint16' {
  if (format.bits <= 8) return format.signed ? 'int8' : 'uint8';
  return format.signed ? 'int16' : 'uint16';
}

/** The smallest ONNX type that holds codes of a width. */
export function smallestType(width: number, signed: boolean): DType {
  const bits = width <= 2 ? 2 : width <= 4 ? 4 : width <= 8 ? 8 : 16;
  return `${signed ? 'int' : 'uint'}${bits}`;
}

/** Zero points in the array of their type. */
export function zeroPoints(type: DType, values: Int32Array): Codes | Int32Array {
  if (type === 'int8' || type === 'int4' || type === 'int2') return Int8Array.from(values);
  if (type === 'int16') return Int16Array.from(values);
  if (type === 'uint16') return Uint16Array.from(values);
  return type === 'int32' ? values : Uint8Array.from(values);
}
