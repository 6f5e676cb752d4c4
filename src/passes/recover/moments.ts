import { intAttribute } from '../../graph/attribute.ts';
import { makeModel, makeNode, makeValue } from '../../graph/build.ts';
import type { Tensor } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';
import { NodeCodec, type NodeProto, type TensorProto } from '../../graph/proto.ts';
import { isOp } from '../../graph/query.ts';
import { makeTensor } from '../../graph/tensor.ts';
import { convColumns, convGeometry, kernelSize, type Thinning } from '../im2col.ts';
import type { LayerGram } from '../gram.ts';
import type { PassContext } from '../pass.ts';
import { asRows, type QuantizedLayer } from './sites.ts';

/**
 * What rounding a layer needs of the data: the second moments of the columns x̂ that the quantized layer multiplies its weights
 * with, and how they go with the outputs y that it ought to give. Sums over all `count` columns.
 */
export interface LayerMoments {
  readonly groups: number;
  /** K: weights of one output. */
  readonly size: number;
  readonly count: number;
  /** Σ x̂ x̂ᵀ, [groups, K, K]. */
  readonly gram: Float64Array;
  /** Σ x̂, [groups, K]. */
  readonly sum: Float64Array;
  /** Σ y x̂ᵀ, [outputs, K]; y is without the bias. */
  readonly target: Float64Array;
  /** Σ y, [outputs]. */
  readonly targetSum: Float64Array;
  /** The two sums over all positions, where only some are `count`ed: the mean error that is left is a small difference. */
  readonly all: { readonly count: number; readonly sum: Float64Array; readonly targetSum: Float64Array };
}

/** Moments that are still being summed up. */
export interface OpenMoments {
  readonly moments: LayerMoments;
  /**
   * Adds a batch: the layer's input in the quantized model and in the float one; `extra`, of the layer's output shape, is added to
   * what the float layer gives.
   */
  add(ctx: PassContext, hat: Tensor, float: Tensor, extra: Tensor | undefined): Promise<void>;
}

/** Floats of one im2col matrix, and its columns; larger batches are cut, as products are summed in float32. */
const matrixLimit = 32 * 2 ** 20;
const columnLimit = 2 ** 15;

/** Columns that are enough, and positions that are taken of an image at least. */
const enough = 2 ** 15;
const fewest = 64;

/**
 * Starts the moments of a layer, for a caller that brings the inputs of about so many samples. Neighbouring positions of an image say
 * much the same: only some are taken, on a grid that starts elsewhere in each batch.
 */
export function openMoments(layer: QuantizedLayer, samples: number): OpenMoments {
  const positions = Math.max(fewest, Math.ceil(enough / samples));
  const { node, dims } = layer;
  const groups = isOp(node, 'Conv') ? intAttribute(node, 'group', 1) : 1;
  const size = kernelSize(node, dims);
  const outputs = asRows(layer).rows;
  const moments = {
    ...{ groups, size, count: 0, gram: new Float64Array(groups * size * size), sum: new Float64Array(groups * size) },
    ...{ target: new Float64Array(outputs * size), targetSum: new Float64Array(outputs) },
    all: { count: 0, sum: new Float64Array(groups * size), targetSum: new Float64Array(outputs) },
  };
  const graphs = new Map<string, MomentGraph>();
  let batch = 0;
  return {
    moments,
    async add(ctx, hat, float, given) {
      const spatial = isOp(node, 'Conv') ? convGeometry(node, dims.slice(2), hat.dims.slice(2)).out : [];
      const output = isOp(node, 'Conv') ? [hat.dims[0], outputs, ...spatial] : [...hat.dims.slice(0, -1), outputs];
      // What is broadcast over the output is not made up for.
      const extra = given?.dims.join() === output.join() ? given : undefined;
      const key = `${hat.dims.slice(1).join()} ${extra !== undefined}`;
      const graph =
        graphs.get(key) ?? build(layer, [groups, size, outputs], hat.dims, { extra: extra?.dims, positions });
      graphs.set(key, graph);
      const shift = graph.shift(batch++);
      for (const feeds of slices({ hat, float, ...(extra && { extra }) }, graph.columns, size)) {
        const got = await ctx.compute(graph.model, { ...feeds, ...shift });
        const add = (into: Float64Array, name: string): void => {
          const data = got[name]?.data as Float32Array;
          for (let i = 0; i < into.length; i++) into[i] = (into[i] as number) + (data[i] as number);
        };
        add(moments.gram, 'gram');
        add(moments.sum, 'sum');
        add(moments.target, 'target');
        add(moments.targetSum, 'targetSum');
        const taken = Number((got.count?.data as BigInt64Array)[0]);
        moments.count += taken;
        const { all } = moments;
        add(all.sum, graph.thin ? 'all_sum' : 'sum');
        add(all.targetSum, graph.thin ? 'all_targetSum' : 'targetSum');
        all.count += graph.thin ? graph.positions * (feeds.hat?.dims[0] ?? 1) : taken;
      }
    },
  };
}

/** Cuts a batch where its im2col matrix would be too large. */
function* slices(all: Record<string, Tensor>, columns: number, size: number): Generator<Record<string, Tensor>> {
  const rows = all.hat?.dims[0] ?? 1;
  const step = Math.max(1, Math.floor(Math.min(matrixLimit / (columns * size), columnLimit / columns)));
  const cut = (t: Tensor, from: number, to: number): Tensor => {
    const inner = t.data.length / rows;
    const data = (t.data as Float32Array).subarray(from * inner, to * inner);
    return { type: t.type, dims: [to - from, ...t.dims.slice(1)], data };
  };
  for (let from = 0; from < rows; from += step)
    yield Object.fromEntries(Object.entries(all).map(([name, t]) => [name, cut(t, from, Math.min(rows, from + step))]));
}

interface MomentGraph {
  readonly model: Model;
  /** Columns of one sample, and what they would be if all positions were taken. */
  readonly columns: number;
  readonly positions: number;
  readonly thin: boolean;
  /** The input that says where the grid of a batch starts. */
  shift(batch: number): Record<string, Tensor>;
}

function build(
  { node, dims, weights }: QuantizedLayer,
  [groups, size, outputs]: readonly [number, number, number],
  shape: readonly number[],
  { extra, positions }: { readonly extra: readonly number[] | undefined; readonly positions: number },
): MomentGraph {
  const conv = isOp(node, 'Conv');
  const initializers: TensorProto[] = [makeTensor('weights', 'float32', dims, weights)];
  const constant = (name: string, values: readonly number[]): string => {
    initializers.push(makeTensor(name, 'int64', [values.length], BigInt64Array.from(values, BigInt)));
    return name;
  };
  const { out, strides } = conv ? convGeometry(node, dims.slice(2), shape.slice(2)) : { out: [], strides: [] };
  const every = thinning(out, positions);
  const thin: Thinning | undefined = every.some((n) => n > 1) ? { every, shift: 'shift' } : undefined;
  const nodes: NodeProto[] = [];
  const op = (type: string, inputs: string[], output: string, attributes = {}): string => {
    nodes.push(makeNode(type, inputs, [output], attributes));
    return output;
  };
  const wanted = (y: string): string => (extra ? op('Add', [y, 'extra'], 'wanted') : y);
  if (conv) {
    nodes.push(NodeCodec.amend(node, { input: ['float', 'weights'], output: ['y'], name: 'y' }));
    nodes.push(...convColumns(node, dims, shape, 'hat', [groups, size], constant, thin));
    let y = wanted('y');
    if (thin) {
      // Summing the batch first, all columns of one image are enough for the sums.
      op('ReduceSum', ['hat', constant('first', [0])], 'hat_all');
      nodes.push(...convColumns(node, dims, shape, 'hat_all', [groups, size], constant));
      op('ReduceSum', ['hat_all_columns', constant('all_last', [2])], 'all_sum', { keepdims: 0 });
      op('ReduceSum', [y, constant('all_places', [0, ...out.map((_, d) => d + 2)])], 'all_targetSum', { keepdims: 0 });
      const axes = constant(
        'y_axes',
        out.map((_, d) => d + 2),
      );
      y = op('Slice', [y, 'offset', constant('y_to', out), axes, constant('y_every', every)], 'y_thin');
    }
    const flat = op('Reshape', [y, constant('y_flat', [0, groups, outputs / groups, -1])], 'y_groups');
    const turned = op('Transpose', [flat], 'y_turned', { perm: [1, 2, 0, 3] });
    op('Reshape', [turned, constant('y_shape', [groups, outputs / groups, -1])], 'y_columns');
  } else {
    const turned = isOp(node, 'Gemm') && intAttribute(node, 'transB', 0) === 1;
    const matrix = turned ? op('Transpose', ['weights'], 'weights_turned', { perm: [1, 0] }) : 'weights';
    const y = wanted(op('MatMul', ['float', matrix], 'y'));
    for (const [name, from, width] of [
      ['hat', 'hat', size],
      ['y', y, outputs],
    ] as const) {
      op('Reshape', [from, constant(`${name}_flat`, [-1, width])], `${name}_rows`);
      op('Transpose', [`${name}_rows`], `${name}_flipped`, { perm: [1, 0] });
      op('Reshape', [`${name}_flipped`, constant(`${name}_form`, [1, width, -1])], `${name}_columns`);
    }
  }
  const right = op('Transpose', ['hat_columns'], 'right', { perm: [0, 2, 1] });
  op('MatMul', ['hat_columns', right], 'gram');
  op('MatMul', ['y_columns', right], 'target');
  const last = constant('last', [2]);
  op('ReduceSum', ['hat_columns', last], 'sum', { keepdims: 0 });
  op('ReduceSum', ['y_columns', last], 'targetSum', { keepdims: 0 });
  op('Shape', ['hat_columns'], 'count', { start: 2, end: 3 });
  const free = ['N', ...shape.slice(1)];
  const model = makeModel({
    opset: 17,
    ir: 8,
    inputs: [
      makeValue('hat', 'float32', free),
      makeValue('float', 'float32', free),
      ...(extra ? [makeValue('extra', 'float32', ['N', ...extra.slice(1)])] : []),
      ...(thin ? [makeValue('shift', 'int64', [out.length]), makeValue('offset', 'int64', [out.length])] : []),
    ],
    outputs: [
      makeValue('count', 'int64'),
      ...['gram', 'sum', 'target', 'targetSum', ...(thin ? ['all_sum', 'all_targetSum'] : [])].map((name) =>
        makeValue(name, 'float32'),
      ),
    ],
    nodes,
    initializers,
  });
  const cells = every.reduce((a, b) => a * b, 1);
  const columns = conv
    ? out.reduce((all, n, d) => all * Math.ceil(n / (every[d] as number)), 1)
    : shape.slice(1, -1).reduce((a, b) => a * b, 1);
  return {
    model,
    columns,
    positions: out.reduce((a, b) => a * b, 1),
    thin: thin !== undefined,
    shift(batch): Record<string, Tensor> {
      if (!thin) return {};
      let cell = batch % cells;
      const offset = every.map((n) => {
        const at = cell % n;
        cell = (cell - at) / n;
        return at;
      });
      const ints = (values: readonly number[]): Tensor => ({
        type: 'int64',
        dims: [values.length],
        data: BigInt64Array.from(values, BigInt),
      });
      return { offset: ints(offset), shift: ints(offset.map((at, d) => at * (strides[d] as number))) };
    },
  };
}

/** How many positions it is from one that is taken to the next. */
function thinning(out: readonly number[], positions: number): number[] {
  for (let every = 1; ; every++) {
    const steps = out.map((n) => Math.min(n, every));
    if (out.reduce((all, n, d) => all * Math.ceil(n / (steps[d] as number)), 1) <= positions) return steps;
    if (out.every((n) => every >= n)) return steps;
  }
}

/** The same from second moments of inputs alone: y = W x, so that Σ y x̂ᵀ = W Σ x x̂ᵀ. */
export function momentsOf(
  layer: QuantizedLayer,
  { groups, size, count, gram, cross, sum, crossSum }: LayerGram,
): LayerMoments {
  const { rows: outputs, place } = asRows(layer);
  const target = new Float64Array(gram.length > 0 ? outputs * size : 0);
  const targetSum = new Float64Array(outputs);
  for (let r = 0; r < outputs; r++) {
    const g = Math.floor(r / (outputs / groups));
    for (let i = 0; i < size; i++) {
      const w = layer.weights[place(r, i)] as number;
      targetSum[r] = (targetSum[r] as number) + w * (crossSum[g * size + i] as number);
      if (w !== 0 && target.length > 0)
        for (let j = 0, at = (g * size + i) * size; j < size; j++, at++)
          target[r * size + j] = (target[r * size + j] as number) + w * (cross[at] as number);
    }
  }
  return { groups, size, count, gram, sum, target, targetSum, all: { count, sum, targetSum } };
}
