import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { consumers, isOp } from '../../graph/query.ts';
import type { Shapes } from '../../graph/shapes.ts';

/**
 * The matrix products before a Relu that onnxruntime leaves behind their DequantizeLinear, which would be computed at every run,
 * where it makes MatMulNBits of others: it joins Gemm (or MatMul and Add on two axes) with the Relu to FusedGemm first, and a MatMul
 * right before a Relu it leaves as it is. Seen in 1.30; before other activations it makes MatMulNBits.
 */
export function beforeRelu(model: Model, shapes: Shapes): ReadonlySet<NodeProto> {
  const readers = consumers(model.graph);
  const only = (node: NodeProto, op: string): NodeProto | undefined => {
    const list = readers.get(node.output[0] ?? '') ?? [];
    return list.length === 1 && isOp(list[0] as NodeProto, op) ? list[0] : undefined;
  };
  const found = model.graph.node.filter((node) => {
    if (isOp(node, 'Gemm', 'MatMul') && only(node, 'Relu') !== undefined) return true;
    if (!isOp(node, 'MatMul')) return false;
    const add = shapes.get(node.output[0] ?? '')?.dims.length === 2 ? only(node, 'Add') : undefined;
    return add !== undefined && only(add, 'Relu') !== undefined;
  });
  return new Set(found);
}
