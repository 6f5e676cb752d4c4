import { allFinite } from '../numerics/finite.ts';
import { fromBfloat16, fromFloat16 } from '../numerics/float16.ts';
import type { TensorProto } from './proto.ts';
import { dimsOf, elementCount, tensorPieces, typeOf } from './tensor.ts';

/**
 * Says that a stored tensor of floats holds NaN or infinity, and where first: `holds NaN at element 5 of 2048`. Undefined where
 * all is finite and for other types. A weight that does cannot be quantized: no integer means either.
 */
export function notFinite(tensor: TensorProto): string | undefined {
  const type = typeOf(tensor);
  if (!['float32', 'float64', 'float16', 'bfloat16'].includes(type)) return undefined;
  let before = 0;
  for (const piece of tensorPieces(tensor)) {
    const values =
      type === 'float16'
        ? fromFloat16(piece as Uint16Array)
        : type === 'bfloat16'
          ? fromBfloat16(piece as Uint16Array)
          : (piece as Float32Array | Float64Array);
    if (!allFinite(values)) {
      const at = values.findIndex((v: number) => !Number.isFinite(v));
      return `holds ${values[at]} at element ${before + at} of ${elementCount(dimsOf(tensor))}`;
    }
    before += values.length;
  }
  return undefined;
}
