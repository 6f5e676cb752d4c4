import { intAttribute } from '../../../graph/attribute.ts';
import type { Channels } from '../../../graph/channels.ts';
import type { Model } from '../../../graph/model.ts';
import type { NodeProto } from '../../../graph/proto.ts';
import { consumers, initializers, isOp, layerName, producers } from '../../../graph/query.ts';
import { dimsOf, typeOf } from '../../../graph/tensor.ts';
import { isLinear, linearSizes, type Linear } from './moments.ts';

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
  /** Atom of each output (-1: stays), groups one after another. */
  readonly outputs: Int32Array;
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
    const input = channels.dims.get(x);
    if (!weight || !input || typeOf(weight) !== 'float32' || !isLinear(node, dimsOf(weight))) return [];
    if ((readers.get(tensor)?.length ?? 0) > 1 || (bias && !stored.has(bias))) return [];
    const dims = dimsOf(weight);
    const linear: Linear = { node, weight: dims, input };
    const y = node.output[0] as string;
    return [
      {
        ...linear,
        layer: layerName(node),
        x,
        y,
        tensor,
        bias: bias || undefined,
        canBias: !isOp(node, 'MatMul') && (!bias || channels.dims.get(bias)?.length === 1),
        columns: columnAtoms(linear, channels, tensor),
        outputs:
          channels.axes.get(y)?.[isOp(node, 'Conv') ? 1 : (channels.dims.get(y)?.length ?? 1) - 1] ??
          new Int32Array(linearSizes(linear).rows * linearSizes(linear).groups).fill(-1),
        shortcut: outputs.has(y) ? undefined : shortcutOf(y, readers, made, channels),
      },
    ];
  });
}

function columnAtoms({ node, weight, input }: Linear, channels: Channels, tensor: string): Int32Array {
  const { size } = linearSizes({ node, weight, input });
  const axis = isOp(node, 'Conv') ? 1 : isOp(node, 'Gemm') && intAttribute(node, 'transB', 0) === 1 ? 1 : 0;
  const labels = channels.axes.get(tensor)?.[axis];
  const taps = isOp(node, 'Conv') ? weight.slice(2).reduce((a, b) => a * b, 1) : 1;
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

/** A layer's weights as [groups · rows, K] row-major, in double precision. */
export function readRows(site: Linear, data: Float32Array): Float64Array {
  const { groups, rows, size } = linearSizes(site);
  const turned = isTurned(site);
  return Float64Array.from({ length: groups * rows * size }, (_, i) =>
    turned ? (data[(i % size) * rows + Math.floor(i / size)] as number) : (data[i] as number),
  );
}

/** The reverse of `readRows`. */
export function writeRows(site: Linear, values: Float64Array): Float32Array {
  const { rows, size } = linearSizes(site);
  if (!isTurned(site)) return Float32Array.from(values);
  return Float32Array.from(
    { length: values.length },
    (_, i) => values[(i % rows) * size + Math.floor(i / rows)] as number,
  );
}

/** Weights stored [K, rows]. */
const isTurned = ({ node }: Linear): boolean =>
  isOp(node, 'MatMul') || (isOp(node, 'Gemm') && intAttribute(node, 'transB', 0) === 0);
