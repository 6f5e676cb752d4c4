import { QtoolError } from '../../util/error.ts';
import { makeNode } from '../build.ts';
import { dtypes, type TypedArray } from '../dtype.ts';
import { edit, removeUnread, type Draft } from '../edit.ts';
import type { Model } from '../model.ts';
import type { NodeProto, TensorProto } from '../proto.ts';
import { constantTensor, isOp, layerName, opset } from '../query.ts';
import { dimsOf, makeTensor, tensorData, typeOf } from '../tensor.ts';
import type { Axis, Cut } from './flow.ts';
import { constants, stridesOf } from './ints.ts';
import { rules } from './rules.ts';
import type { Channels } from './types.ts';

/**
 * The model without these atoms: smaller weights, and every Split size, Slice bound, Pad amount, Reshape constant and group
 * number that speaks of the cut axes mended. `channels` must be of this very model.
 * @throws QtoolError('graph') where an axis would be left empty.
 */
export function removeChannels(model: Model, channels: Channels, atoms: ReadonlySet<number>): Model {
  if (atoms.size === 0) return model;
  refuseEmpty(channels, atoms);
  const kept = (value: string, axis: number): Int32Array | undefined =>
    keptIndices(channels.axes.get(value)?.[axis], atoms);
  const changed = new Set(
    [...channels.axes].filter(([, axes]) => axes.some((_, d) => touches(axes[d], atoms))).map(([name]) => name),
  );
  return edit(model, (draft) => {
    const outputs = new Set(model.graph.output.map((value) => value.name));
    for (const tensor of model.graph.initializer)
      if (changed.has(tensor.name)) draft.replace(tensor.name, sliced(tensor, tensor.name, kept));
    for (const node of model.graph.node) {
      const constant = constantTensor(node);
      const name = node.output[0]!;
      if (constant && changed.has(name)) {
        draft.removeNode(node);
        draft.replace(name, sliced(constant, name, kept));
      }
      const touched = [...node.input, ...node.output].some((value) => changed.has(value));
      if (touched && isOp(node, node.op_type)) rules[node.op_type]?.fix?.(cutOf(model, channels, draft, node, kept));
    }
    draft.forgetShapes(changed);
    removeUnread(draft, outputs);
  });
}

function touches(axis: Axis, atoms: ReadonlySet<number>): boolean {
  return axis?.some((atom) => atoms.has(atom)) ?? false;
}

function keptIndices(axis: Axis, atoms: ReadonlySet<number>): Int32Array | undefined {
  if (!axis || !touches(axis, atoms)) return undefined;
  return Int32Array.from(axis.keys()).filter((i) => !atoms.has(axis[i]!));
}

function refuseEmpty(channels: Channels, atoms: ReadonlySet<number>): void {
  for (const [name, axes] of channels.axes)
    for (const axis of axes)
      if (axis?.every((atom) => atoms.has(atom)))
        throw new QtoolError('graph', 'every channel of this axis would be cut', {
          at: name,
          hint: 'keep at least one',
        });
}

/** The tensor's kept indices along every axis, under a name (that of the Constant node's output, if it was one). */
function sliced(
  tensor: TensorProto,
  name: string,
  kept: (value: string, axis: number) => Int32Array | undefined,
): TensorProto {
  const dims = dimsOf(tensor);
  const type = typeOf(tensor);
  const rows = dims.map((size, d) => kept(name, d) ?? Int32Array.from({ length: size }, (_, i) => i));
  const strides = stridesOf(dims);
  // Element offsets, axis by axis: rectangular, so that no index arithmetic is left in the copy.
  const offsets = rows.reduce<Int32Array>((heads, row, d) => {
    const next = new Int32Array(heads.length * row.length);
    heads.forEach((head, i) => row.forEach((k, j) => (next[i * row.length + j] = head + k * strides[d]!)));
    return next;
  }, Int32Array.of(0));
  const data = tensorData(tensor);
  const array = dtypes[type].array as new (length: number) => TypedArray;
  const result = new array(offsets.length);
  offsets.forEach((from, to) => (result[to] = data[from] as never));
  return makeTensor(
    name,
    type,
    rows.map((row) => row.length),
    result,
  );
}

function cutOf(
  model: Model,
  channels: Channels,
  draft: Draft,
  node: NodeProto,
  kept: (value: string, axis: number) => Int32Array | undefined,
): Cut {
  const oldDims = (value: string): readonly number[] => channels.dims.get(value) ?? [];
  let inputs = node.input;
  const read = (input: number, name: string): void => {
    inputs = Array.from({ length: Math.max(inputs.length, input + 1) }, (_, i) =>
      i === input ? name : (inputs[i] ?? ''),
    );
    draft.update(node, { input: [...inputs] });
  };
  const store = (items: readonly number[], like: string, dims: readonly number[] = [items.length]): string => {
    const wide = channels.shapes.get(like)?.type !== 'int32';
    const data = wide ? BigInt64Array.from(items, toInt64) : Int32Array.from(items);
    return draft.add(`${layerName(node)}_cut`, makeTensor('', wide ? 'int64' : 'int32', dims, data));
  };
  const vector: Cut['vector'] = (input, items, dims) => read(input, store(items, inputs[input] ?? '', dims));
  return {
    draft,
    node,
    opset: opset(model),
    kept,
    oldDims,
    newDims: (value) => oldDims(value).map((size, d) => kept(value, d)?.length ?? size),
    ints: (value) => channels.ints.get(value),
    vector,
    patch(input, items) {
      if (items.every((item) => item === undefined)) return;
      const from = inputs[input]!;
      const all = constants(channels.ints.get(from));
      if (all)
        return vector(
          input,
          all.map((number, i) => items[i] ?? number),
        );
      const [kept, set] = [items.map((item) => (item === undefined ? 1 : 0)), items.map((item) => item ?? 0)];
      const [masked, patched] = [draft.freshName(`${from}_masked`), draft.freshName(`${from}_cut`)];
      draft.addNode(makeNode('Mul', [from, store(kept, from)], [masked]));
      draft.addNode(makeNode('Add', [masked, store(set, from)], [patched]));
      read(input, patched);
    },
  };
}

/** Numbers that stand for "to the end" (INT64_MAX and beyond what a double holds) stay that. */
function toInt64(value: number): bigint {
  if (Number.isSafeInteger(value)) return BigInt(value);
  return value > 0 ? 2n ** 63n - 1n : -(2n ** 63n) + 1n;
}
