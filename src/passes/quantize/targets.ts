import type { Model } from '../../graph/model.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { initializers, isOp, layerName } from '../../graph/query.ts';
import { typeOf } from '../../graph/tensor.ts';
import type { Note } from '../pass.ts';

/** A node's constant float32 weight: what weight-only and dynamic quantization work on. */
export interface WeightSite {
  readonly node: NodeProto;
  readonly input: number;
  readonly weight: TensorProto;
}

/** Inputs of an operator that hold weights. https://onnx.ai/onnx/operators/ */
const weightInputs: Readonly<Record<string, readonly number[]>> = {
  Conv: [1],
  ConvTranspose: [1],
  Gemm: [1],
  MatMul: [1, 0],
  Gather: [0],
  LSTM: [1, 2],
  GRU: [1, 2],
  RNN: [1, 2],
};

/**
 * Every constant float32 weight of rank 2 and more that a node reads, and for nodes with weights that are not so, why.
 * Weights inside If, Loop and Scan bodies are left alone, with that reason.
 */
export function weightSites(model: Model): {
  readonly sites: readonly WeightSite[];
  readonly skipped: readonly Note[];
} {
  const tensors = initializers(model.graph);
  const sites: WeightSite[] = [];
  const skipped: Note[] = [];
  for (const node of model.graph.node) {
    if (isOp(node, 'If', 'Loop', 'Scan'))
      skipped.push({ layer: layerName(node), text: `layers inside the body of ${node.op_type} are left as they are` });
    if (!isOp(node, ...Object.keys(weightInputs))) continue;
    const found = (weightInputs[node.op_type] ?? []).flatMap((input) => {
      const weight = tensors.get(node.input[input] ?? '');
      return weight && weight.dims.length >= 2 ? [{ node, input, weight }] : [];
    });
    if (found.length === 0 && !isOp(node, 'Gather'))
      skipped.push({ layer: layerName(node), text: `has no constant weights (${node.input[1]} is computed)` });
    for (const site of found)
      if (typeOf(site.weight) === 'float32') sites.push(site);
      else skipped.push({ layer: layerName(node), text: `its weights are ${typeOf(site.weight)}, not float32` });
  }
  return { sites, skipped };
}
