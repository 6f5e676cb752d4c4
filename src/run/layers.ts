import { coverage } from '../analyze/coverage.ts';
import { layerErrors, layerPairs } from '../analyze/layer_error.ts';
import { layerKind } from '../analyze/layers.ts';
import type { Batch } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import type { NodeProto } from '../graph/proto.ts';
import { initializers, isOp, layerName, producers } from '../graph/query.ts';
import { typeOf } from '../graph/tensor.ts';
import type { LayerReport } from './report.ts';

/** Samples that the per-layer errors are measured on: SQNR in dB settles within a few tenths. */
const errorSamples = 64;

/**
 * What became of each layer: the types it holds and computes in, the kernel onnxruntime really runs for it, and how far its
 * output is from the float model's.
 */
export async function layerReports(
  model: Model,
  float: Model,
  batches: (samples: number) => AsyncIterable<Batch>,
  signal: AbortSignal,
): Promise<LayerReport[]> {
  const covered = await coverage(model);
  const errors =
    model === float
      ? []
      : await layerErrors(float, model, layerPairs(float, model), () => batches(errorSamples), { signal });
  const sqnr = new Map(errors.map((error) => [error.layer, error.sqnr]));
  const nodes = new Map(model.graph.node.map((node) => [layerName(node), node]));
  const stored = storedTypes(model);
  return covered.map(({ layer, op, kernel, why }) => {
    const node = nodes.get(layer);
    const kind = node && layerKind(node);
    const weights = stored(node, kind?.weights[0] ?? 1);
    // What a table is looked up with are indices, which no one quantizes.
    const activations = kind?.as === 'Gather' ? '' : stored(node, kind?.data ?? 0);
    return { layer, op, kernel, why, weights, activations, sqnr: sqnr.get(layer) };
  });
}

/** The type that an input of a node is held in: behind DequantizeLinear that of the codes, else what the initializer says. */
function storedTypes(model: Model): (node: NodeProto | undefined, input: number) => string {
  const tensors = initializers(model.graph);
  const made = producers(model.graph);
  const typeOfTensor = (name: string): string | undefined => {
    const tensor = tensors.get(name);
    return tensor && typeOf(tensor);
  };
  return (node, input) => {
    let name = node?.input[input] ?? '';
    if (name === '') return '';
    for (
      let from = made.get(name);
      from && isOp(from, 'DequantizeLinear', 'Reshape', 'Slice', 'Mul', 'Sub', 'Cast');
      from = made.get(name)
    ) {
      const inner = from.input[0] ?? '';
      const computed = made.has(inner);
      // Codes that are computed, by QuantizeLinear or by unpacking, are of the zero point's type.
      if (isOp(from, 'DequantizeLinear') && computed) return typeOfTensor(from.input[2] ?? '') ?? 'uint8';
      name = inner;
    }
    return typeOfTensor(name) ?? 'float32';
  };
}
