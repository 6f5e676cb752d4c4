import type { DType } from '../../graph/dtype.ts';
import { makeTensor } from '../../graph/tensor.ts';
import type { TensorProto } from '../../graph/proto.ts';
import type { Codes } from '../../numerics/affine.ts';
import type { QuantParams } from '../../numerics/format.ts';
import { layoutOf } from '../../numerics/layout.ts';

/** The ONNX type that holds codes of a width: the runtime's integer kernels take 8 bits, so narrower codes sit in those. */
export function storageType(format: QuantParams['format']): 'int8' | 'uint8' | 'int16' | 'uint16' {
  if (format.bits <= 8) return format.signed ? 'int8' : 'uint8';
  return format.signed ? 'int16' : 'uint16';
}

/** Scale and zero-point tensors for DequantizeLinear. Zero points are always written: QGemm does not fuse without them. */
export function paramTensors(
  names: { readonly scale: string; readonly zeroPoint: string },
  dims: readonly number[],
  params: QuantParams,
  type: DType = storageType(params.format),
): { readonly scale: TensorProto; readonly zeroPoint: TensorProto } {
  const { paramDims } = layoutOf(dims, params.granularity);
  const zeros = zeroPoints(type, params.zeroPoint);
  return {
    scale: makeTensor(names.scale, 'float32', paramDims, params.scale),
    zeroPoint: makeTensor(names.zeroPoint, type, paramDims, zeros),
  };
}

/** Zero points in the array of their type. */
export function zeroPoints(type: DType, values: Int32Array): Codes | Int32Array {
  if (type === 'int8' || type === 'int4' || type === 'int2') return Int8Array.from(values);
  if (type === 'int16') return Int16Array.from(values);
  if (type === 'uint16') return Uint16Array.from(values);
  return type === 'int32' ? values : Uint8Array.from(values);
}
