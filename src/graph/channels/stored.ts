import { tensorAttribute } from '../attribute.ts';
import type { Model } from '../model.ts';
import type { TensorProto } from '../proto.ts';
import { initializers, isOp } from '../query.ts';

/** Initializers and the tensors of Constant nodes, by the name they are read under. */
export function storedTensors(model: Model): Map<string, TensorProto> {
  const stored = initializers(model.graph);
  for (const node of model.graph.node) {
    const tensor = isOp(node, 'Constant') ? tensorAttribute(node, 'value') : undefined;
    if (tensor) stored.set(node.output[0]!, tensor);
  }
  return stored;
}
