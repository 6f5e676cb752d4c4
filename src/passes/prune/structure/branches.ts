import type { Channels } from '../../../graph/channels.ts';
import { makeNode } from '../../../graph/build.ts';
import { edit, removeUnread } from '../../../graph/edit.ts';
import type { Model } from '../../../graph/model.ts';
import type { NodeProto } from '../../../graph/proto.ts';
import { consumers, initializers, isOp, layerName, producers, reads } from '../../../graph/query.ts';
import { makeTensor } from '../../../graph/tensor.ts';

/** One side of an addition that could be left out: everything only it needs goes with it. */
export interface Branch {
  readonly add: NodeProto;
  /** The value that the branch adds, and what it is added to. */
  readonly value: string;
  readonly other: string;
  /** Layers with weights that only the branch uses, in graph order. */
  readonly layers: readonly string[];
}

/**
 * Residual branches: operands of an Add of two computed values of the same shape that have weights of their own, where the other
 * operand gets by without them. Of two sides that both have weights the one with more layers is taken for the branch.
 */
export function residualBranches(model: Model, channels: Channels): Branch[] {
  const made = producers(model.graph);
  const readers = consumers(model.graph);
  const stored = initializers(model.graph);
  const outputs = new Set(model.graph.output.map((o) => o.name));
  const weighted = (node: NodeProto): boolean => node.input.some((name) => (stored.get(name)?.dims.length ?? 0) > 1);
  return model.graph.node.flatMap((add): Branch[] => {
    const [a = '', b = ''] = add.input;
    if (!isOp(add, 'Add') || a === b || !made.has(a) || !made.has(b)) return [];
    const shape = channels.dims.get(add.output[0] as string)?.join();
    if (shape === undefined || [a, b].some((name) => channels.dims.get(name)?.join() !== shape)) return [];
    const sides = [
      [a, b],
      [b, a],
    ] as const;
    const branches = sides.map(([value, other]): Branch => {
      const own = exclusive(value, add, made, readers, outputs);
      const layers = model.graph.node.filter((node) => own.has(node) && weighted(node)).map(layerName);
      return { add, value, other, layers };
    });
    const longest = branches.reduce((x, y) => (y.layers.length > x.layers.length ? y : x));
    return longest.layers.length > 0 ? [longest] : [];
  });
}

/** The nodes that nothing but this operand of the addition needs. */
function exclusive(
  value: string,
  add: NodeProto,
  made: ReadonlyMap<string, NodeProto>,
  readers: ReadonlyMap<string, readonly NodeProto[]>,
  outputs: ReadonlySet<string>,
): Set<NodeProto> {
  const own = new Set<NodeProto>();
  const open = [value];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const node = made.get(name);
    if (!node || own.has(node)) continue;
    // Asked again when another reader turned out to be the branch's own: a node is pushed by each of its readers.
    const needed = node.output.some(
      (out) =>
        outputs.has(out) ||
        (readers.get(out) ?? []).some((reader) => !own.has(reader) && (reader !== add || out !== value)),
    );
    if (needed) continue;
    own.add(node);
    open.push(...reads(node));
  }
  return own;
}

/** The model without a branch: its mean over the calibration data, one number a channel, is added in its place. */
export function withoutBranch(
  model: Model,
  { add, value, other }: Branch,
  mean: Float64Array,
  dims: readonly number[],
): Model {
  return edit(model, (draft) => {
    const outputs = new Set(model.graph.output.map((o) => o.name));
    const shape = dims.map((_, d) => (d === channelAxis(dims) ? mean.length : 1));
    const name = draft.add(`${value}_mean`, makeTensor('', 'float32', shape, Float32Array.from(mean)));
    draft.removeNode(add);
    draft.addNode(makeNode('Add', [other, name], add.output, {}, { name: layerName(add) }));
    removeUnread(draft, outputs);
  });
}

/** Channels stand at axis 1 of images, last in other tensors. */
export const channelAxis = (dims: readonly number[]): number => (dims.length > 3 ? 1 : dims.length - 1);
