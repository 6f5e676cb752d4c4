import type { Model } from '../graph/model.ts';
import { isOp } from '../graph/query.ts';
import { dimsOf, elementCount, typeOf } from '../graph/tensor.ts';
import { words } from '../util/words.ts';
import { countCodes } from './zeros.ts';

/** Types that weights are stored in; an int64 table of indices is no weight. */
const weightTypes = new Set(words('float32 float16 bfloat16 float64 int8 uint8 int16 uint16 int4 uint4 int2 uint2'));

/**
 * Share of weights that are exactly zero, 0 to 1: over all initializers of rank 2 and more, scales and zero points left out.
 * A quantized weight is zero where its code is its zero point.
 */
export function zeroShare(model: Model): number {
  const parameters = new Set(
    model.graph.node.filter((n) => isOp(n, 'DequantizeLinear', 'QuantizeLinear')).flatMap((n) => n.input.slice(1)),
  );
  let zeros = 0;
  let total = 0;
  for (const tensor of model.graph.initializer) {
    if (tensor.dims.length < 2 || !weightTypes.has(typeOf(tensor)) || parameters.has(tensor.name)) continue;
    zeros += countCodes(model, tensor);
    total += elementCount(dimsOf(tensor));
  }
  return total === 0 ? 0 : zeros / total;
}
