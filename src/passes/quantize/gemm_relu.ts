import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { consumers, isOp } from '../../graph/query.ts';
import type { Shapes } from '../../graph/shapes.ts';

/**
 * The matrix products that onnxruntime joins with a Relu to FusedGemm (Gemm, or MatMul and Add on two axes, then Relu) before it
 * would turn their DequantizeLinear into MatMulNBits: such a weight would be dequantized at every run. Seen in 1.30; other
 * activations are not joined.
 */
export function beforeRelu(model: Model, shapes: Shapes): ReadonlySet<NodeProto> {
  const readers = consumers(model.graph);
  const only = (node: NodeProto, op: string): NodeProto | undefined => {
    const list = readers.get(node.output[0] ?? '') ?? [];
    return list.length === 1 && isOp(list[0] as NodeProto, op) ? list[0] : undefined;
  };
  const found = model.graph.node.filter((node) => {
    if (isOp(node, 'Gemm')) return only(node, 'Relu') !== undefined;
    if (!isOp(node, 'MatMul') || shapes.get(node.output[0] ?? '')?.dims.length !== 2) return false;
    const add = only(node, 'Add');
    return add !== undefined && only(add, 'Relu') !== undefined;
  });
  return new Set(found);
}
