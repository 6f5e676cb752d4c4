import { intAttribute } from '../../graph/attribute.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { consumers, initializers, isOp, producers } from '../../graph/query.ts';
import { dimsOf, makeTensor, tensorNumbers } from '../../graph/tensor.ts';
import type { StaticShapes } from './static_shapes.ts';

/** Lengths of single axes that no input changes, of values of which other axes may differ: Gather of a Shape, at constant places. */
export function shapeParts(
  model: Model,
  shapes: StaticShapes,
): { readonly node: NodeProto; readonly tensor: TensorProto; readonly text: string }[] {
  const tensors = initializers(model.graph);
  const made = producers(model.graph);
  const readers = consumers(model.graph);
  const outputs = new Set(model.graph.output.map(({ name }) => name));
  return model.graph.node.flatMap((node) => {
    const shape = isOp(node, 'Gather') ? made.get(node.input[0] ?? '') : undefined;
    const at = tensors.get(node.input[1] ?? '');
    const [y = ''] = node.output;
    if (!shape || !isOp(shape, 'Shape') || !at || intAttribute(node, 'axis', 0) !== 0 || outputs.has(y)) return [];
    // onnxruntime refuses constants of one element in Range that are no scalars.
    if (at.dims.length > 0 && readers.get(y)?.some((reader) => isOp(reader, 'Range'))) return [];
    const whole = shapes.partial(shape.input[0] ?? '');
    // A shape that is known as a whole becomes a constant by itself.
    if (whole?.every((length) => length !== undefined)) return [];
    const dims = whole?.slice(intAttribute(shape, 'start', 0), intAttribute(shape, 'end', whole.length));
    const picked = dims && tensorNumbers(at).map((i) => dims[i < 0 ? i + dims.length : i]);
    if (!picked?.every((length) => length !== undefined)) return [];
    const tensor = makeTensor(y, 'int64', dimsOf(at), BigInt64Array.from(picked, BigInt));
    return [{ node, tensor, text: `of "${shape.input[0] ?? ''}" that length is always ${picked.join(', ')}` }];
  });
}
