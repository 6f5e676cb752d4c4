import { fullPrecision } from '../../graph/full_precision.ts';
import { layers, type Layer } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import { notFinitePaths, notFiniteTensors } from '../../graph/nan_paths.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { isOp, layerName } from '../../graph/query.ts';
import { elementCount, typeOf } from '../../graph/tensor.ts';
import { innerNotes } from '../inner_notes.ts';
import type { Note } from '../pass.ts';

/** Why the weights of a layer cannot be held in fewer bits, whatever the format; undefined where they can. */
function unfitWeight({ weight }: Layer, notFinite: ReadonlyMap<TensorProto, string>): string | undefined {
  const { tensor } = weight;
  if (typeOf(tensor) !== 'float32') return `its weights are ${typeOf(tensor)}, not float32`;
  if (elementCount(weight.dims) === 0) return `its weight "${tensor.name}" has no elements`;
  const bad = notFinite.get(tensor);
  return bad === undefined ? undefined : `its weight "${tensor.name}" ${bad}`;
}

/**
 * Every weight that can be quantized, and why others cannot: of another type, with NaN or infinity in it, computed in the graph,
 * inside a body, what makes positions, or what stored NaN or infinity comes to. `kept` has all nodes of the last two kinds.
 */
export function weightLayers(model: Model): {
  readonly layers: readonly Layer[];
  readonly skipped: readonly Note[];
  readonly kept: ReadonlyMap<NodeProto, string>;
} {
  const { layers: all, unweighted } = layers(model);
  const skipped: Note[] = [
    ...innerNotes(model),
    ...unweighted.map(({ node, text }) => ({ layer: layerName(node), text })),
  ];
  const notFinite = notFiniteTensors(model);
  const kept = new Map([...notFinitePaths(model, notFinite), ...fullPrecision(model)]);
  const fit = all.filter((layer) => {
    if (!layer.weight.axes) {
      skipped.push({ layer: layer.name, text: `the weights of ${layer.node.op_type} stand in no order that is known` });
      return false;
    }
    const text = unfitWeight(layer, notFinite) ?? kept.get(layer.node);
    if (text !== undefined) skipped.push({ layer: layer.name, text });
    return text === undefined;
  });
  return { layers: fit, skipped, kept };
}

/** Whether a layer is a matrix that a Gemm or MatMul multiplies its input with from the right. */
export function isMatrix({ node, input, weight }: Pick<Layer, 'node' | 'input' | 'weight'>): boolean {
  return input === 1 && weight.dims.length === 2 && isOp(node, 'Gemm', 'MatMul');
}

/** What tells stored codes apart: the tensor, the matrix that a layer sees in it, and how they are held. */
export function weightKey({ weight }: Layer, held: unknown): string {
  return JSON.stringify([weight.tensor.name, weight.axes, held]);
}
