import type { Channels } from '../../../graph/channels.ts';
import type { Model } from '../../../graph/model.ts';
import { productOf } from '../../../graph/ops.ts';
import type { NodeProto } from '../../../graph/proto.ts';
import { consumers, initializers, isOp, layerName, producers } from '../../../graph/query.ts';
import { dimsOf, typeOf } from '../../../graph/tensor.ts';
import { hasMoments } from '../../moments.ts';
import { linearSizes, type Linear } from '../../rows.ts';

/** A layer that reads channels and whose weights can be refitted when some of them go. */
export interface Site extends Linear {
  readonly layer: string;
  readonly x: string;
  readonly y: string;
  readonly tensor: string;
  /** Name of its bias; undefined where it has none, `canBias` says whether it may get one. */
  readonly bias: string | undefined;
  readonly canBias: boolean;
  /** Atom of each of the K columns (-1: stays). */
  readonly columns: Int32Array;
  /** The layer's output is added to a shortcut: then their sum is what should be reproduced. */
  readonly shortcut: { readonly sum: string; readonly other: string } | undefined;
}

/** Layers with stored float weights that sum over channels, in graph order. */
export function refitSites(model: Model, channels: Channels): Site[] {
  const stored = initializers(model.graph);
  const readers = consumers(model.graph);
  const made = producers(model.graph);
  const outputs = new Set(model.graph.output.map((o) => o.name));
  return model.graph.node.flatMap((node): Site[] => {
    const [x = '', tensor = '', bias] = node.input;
    const weight = stored.get(tensor);
    if (!weight || !channels.dims.has(x) || typeOf(weight) !== 'float32') return [];
    // What is shared, or scaled by alpha and beta, is not one layer's to choose.
    const own = (name: string): boolean => stored.has(name) && readers.get(name)?.length === 1;
    if (!own(tensor) || (bias && !(own(bias) && channels.dims.get(bias)?.length === 1))) return [];
    if (productOf(node)?.quirk(node) !== undefined) return [];
    const linear: Linear = { node, dims: dimsOf(weight) };
    if (!hasMoments(linear)) return [];
    const y = node.output[0] as string;
    return [
      {
        ...linear,
        layer: layerName(node),
        x,
        y,
        tensor,
        bias: bias || undefined,
        canBias: productOf(node)?.bias !== undefined,
        columns: columnAtoms(linear, channels, tensor),
        shortcut: outputs.has(y) ? undefined : shortcutOf(y, readers, made, channels),
      },
    ];
  });
}

function columnAtoms(layer: Linear, channels: Channels, tensor: string): Int32Array {
  const { size, turned } = linearSizes(layer);
  const axis = turned ? 0 : 1;
  const labels = channels.axes.get(tensor)?.[axis];
  const taps = layer.dims.slice(2).reduce((a, b) => a * b, 1);
  return Int32Array.from({ length: size }, (_, k) => labels?.[Math.floor(k / taps)] ?? -1);
}

/** Where only an Add reads the layer's output, of another value of the same shape. */
function shortcutOf(
  y: string,
  readers: ReadonlyMap<string, NodeProto[]>,
  made: ReadonlyMap<string, NodeProto>,
  channels: Channels,
): Site['shortcut'] {
  const [reader, ...more] = readers.get(y) ?? [];
  if (!reader || more.length > 0 || !isOp(reader, 'Add')) return undefined;
  const other = reader.input[0] === y ? reader.input[1] : reader.input[0];
  if (!other || other === y || !made.has(other)) return undefined;
  if (channels.dims.get(other)?.join() !== channels.dims.get(y)?.join()) return undefined;
  return { sum: reader.output[0] as string, other };
}
