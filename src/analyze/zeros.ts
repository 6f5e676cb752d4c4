import { intAttribute } from '../graph/attribute.ts';
import type { Model } from '../graph/model.ts';
import type { TensorProto } from '../graph/proto.ts';
import { initializers, isOp } from '../graph/query.ts';
import { dimsOf, elementCount, tensorData, tensorPieces, typeOf } from '../graph/tensor.ts';

/** Elements of an initializer that stand for 0: zeros, or the zero-point codes of the DequantizeLinear that reads it. */
export function countCodes(model: Model, tensor: TensorProto): number {
  const reader = model.graph.node.find((node) => isOp(node, 'DequantizeLinear') && node.input[0] === tensor.name);
  if (reader === undefined) return countZeros(tensor, undefined);
  const zeroPoint = initializers(model.graph).get(reader.input[2] ?? '');
  return countZeros(tensor, zeroPoint, intAttribute(reader, 'axis', 1), intAttribute(reader, 'block_size', 0));
}

/**
 * Elements equal to their zero point: none = 0, one for all, one a channel along `axis`, or one a block of `block` elements
 * along it (then the zero points have the rank of the tensor), as DequantizeLinear defines them.
 */
export function countZeros(tensor: TensorProto, zeroPoint: TensorProto | undefined, axis = 0, block = 0): number {
  if (typeOf(tensor) === 'string') return 0;
  const points = zeroPoint === undefined ? [0] : Array.from(tensorData(zeroPoint) as ArrayLike<number>, Number);
  const [point] = points;
  if (points.every((other) => other === point)) {
    let zeros = 0;
    for (const piece of tensorPieces(tensor)) zeros += countEqual(piece, point);
    return zeros;
  }
  const data = tensorData(tensor) as ArrayLike<number | bigint>;
  const dims = dimsOf(tensor);
  const at = (axis + dims.length) % Math.max(1, dims.length);
  const [length, inner] = [dims[at] ?? 1, elementCount(dims.slice(at + 1))];
  const blocks = block > 0 ? Math.ceil(length / block) : length;
  let zeros = 0;
  for (let i = 0; i < data.length; i++) {
    const along = Math.floor(i / inner) % length;
    const blocked = (Math.floor(i / (inner * length)) * blocks + Math.floor(along / block)) * inner + (i % inner);
    if (Number(data[i]) === points[block > 0 ? blocked : along]) zeros++;
  }
  return zeros;
}

function countEqual(data: ArrayLike<number | bigint>, value: number | undefined): number {
  if (data instanceof Float32Array && value === 0) return floatZeros(data);
  let found = 0;
  if (typeof data[0] === 'bigint') {
    const wanted = BigInt(value ?? 0);
    for (let i = 0; i < data.length; i++) if (data[i] === wanted) found++;
    return found;
  }
  const numbers = data as ArrayLike<number>;
  for (let i = 0; i < numbers.length; i++) if (numbers[i] === value) found++;
  return found;
}

/** By itself, since a loop that has seen one type of array only is several times as fast: float weights are most of what is counted. */
function floatZeros(data: Float32Array): number {
  let found = 0;
  for (let i = 0; i < data.length; i++) if (data[i] === 0) found++;
  return found;
}
