import type { Model } from '../graph/model.ts';
import { isOp } from '../graph/query.ts';
import { optimizedGraph } from '../runtime/optimized.ts';
import { constantValues } from './layers.ts';

/**
 * The model with its packed weights decoded, as onnxruntime does when it creates a session; the model itself where nothing
 * but DequantizeLinear is computed from constants.
 */
export async function withDecodedWeights(model: Model): Promise<Model> {
  const constants = constantValues(model.graph);
  const packed = model.graph.node.some(
    (node) =>
      !isOp(node, 'DequantizeLinear', 'Constant') &&
      node.output.length > 0 &&
      node.output.every((name) => name === '' || constants.has(name)),
  );
  return packed ? optimizedGraph(model, { optimization: 'basic' }, true) : model;
}
