import { convGeometry } from '../graph/convolution.ts';
import type { Feeds, Tensor } from '../data/types.ts';
import { makeModel, makeNode, makeValue } from '../graph/build.ts';
import { dtypes } from '../graph/dtype.ts';
import type { Model } from '../graph/model.ts';
import { NodeCodec, type NodeProto, type TensorProto } from '../graph/proto.ts';
import { isOp } from '../graph/query.ts';
import { elementCount, makeTensor } from '../graph/tensor.ts';
import { convColumns, type Thinning } from './im2col.ts';
import type { MomentOptions } from './moments_sums.ts';
import { linearSizes, type Linear } from './rows.ts';

/** The graph that sums up some samples of one shape; the number of samples is free. */
export interface MomentGraph {
  readonly model: Model;
  /** Columns of one sample at most, and what they would be if all positions were taken. */
  readonly columns: number;
  readonly positions: number;
  /** Only some positions enter the products. */
  readonly thin: boolean;
  /** The inputs that say where the grid of the n-th part starts. */
  grid(part: number): Feeds;
}

/**
 * Builds it. Inputs: `hat`, `float` and `extra` as in a batch of moments, where they are there; for products the shifts `c`
 * [groups, K, 1] and `d` [groups, rows, 1], and for thinned ones the grid. Outputs: of products count, gram, sum, target, targetSum,
 * power, all of x − c and y − d; for sums over all positions all_hat, all_float (float64, [groups, K]) and all_extra ([outputs]).
 */
export function momentGraph(layer: Linear, o: MomentOptions, tensors: ReadonlyMap<string, Tensor>): MomentGraph {
  const { node, dims } = layer;
  const { groups, rows, size, turned } = linearSizes(layer);
  const shape = tensors.get('hat')?.dims ?? [];
  const conv = isOp(node, 'Conv');
  const weights = typeof o.target === 'object' ? o.target.weights : undefined;
  const products = o.products ?? true;
  const { out, strides } = conv ? convGeometry(node, dims.slice(2), shape.slice(2)) : { out: [], strides: [] };
  const every = thinning(out, o.target === 'given' || !products ? Infinity : (o.positions ?? Infinity));
  const thin = every.some((n) => n > 1);

  const initializers: TensorProto[] = [];
  const constant = (name: string, values: readonly number[]): string => {
    initializers.push(makeTensor(name, 'int64', [values.length], BigInt64Array.from(values, BigInt)));
    return name;
  };
  const nodes: NodeProto[] = [];
  const op = (type: string, inputs: string[], output: string, attributes = {}): string => {
    nodes.push(makeNode(type, inputs, [output], attributes));
    return output;
  };
  const spatial = out.map((_, d) => d + 2);
  /** [N, groups · wide, …] of a Conv, or [.., wide], as [groups, wide, columns]. */
  const byGroup = (from: string, wide: number, to: string): string => {
    const flat = constant(`${to}_flat`, conv ? [0, groups, wide, -1] : [-1, wide]);
    const order = op('Transpose', [op('Reshape', [from, flat], `${to}_split`)], `${to}_turned`, {
      perm: conv ? [1, 2, 0, 3] : [1, 0],
    });
    return op('Reshape', [order, constant(`${to}_shape`, [groups, wide, -1])], to);
  };
  const columnsOf = (name: string, grid?: Thinning): string => {
    if (!conv) return byGroup(name, size, `${name}_columns`);
    nodes.push(...convColumns(node, dims, shape, name, [groups, size], constant, grid));
    return `${name}_columns`;
  };

  const last = constant('last', [2]);
  const outputs: [string, 'float32' | 'float64' | 'int64'][] = [];
  const sumOf = (columns: string, to: string): void => {
    op('ReduceSum', [columns, last], to, { keepdims: 0 });
    outputs.push([to, columns.startsWith('all') ? 'float64' : 'float32']);
  };
  if (products) {
    const x = op('Sub', [columnsOf('hat', thin ? { every, shift: 'shift' } : undefined), 'c'], 'x');
    const right = op('Transpose', [x], 'right', { perm: [0, 2, 1] });
    op('MatMul', [x, right], 'gram');
    op('Shape', [x], 'count', { start: 2, end: 3 });
    outputs.push(['gram', 'float32'], ['count', 'int64']);
    sumOf(x, 'sum');
    if (o.target) {
      let y = tensors.has('float') ? 'float' : 'hat';
      if (weights) {
        initializers.push(makeTensor('weights', 'float32', dims, weights));
        if (conv) nodes.push(NodeCodec.amend(node, { input: [y, 'weights'], output: ['given'], name: 'given' }));
        else op('MatMul', [y, turned ? 'weights' : op('Transpose', ['weights'], 'flipped', { perm: [1, 0] })], 'given');
        y = tensors.has('extra') ? op('Add', ['given', 'extra'], 'wanted') : 'given';
      }
      if (thin) {
        const bounds = ['offset', constant('ends', out), constant('axes', spatial), constant('every', every)];
        y = op('Slice', [y, ...bounds], 'thinned');
      }
      const t = op('Sub', [byGroup(y, rows, 'y_columns'), 'd'], 'y');
      op('MatMul', [t, right], 'target');
      outputs.push(['target', 'float32']);
      sumOf(t, 'targetSum');
      if (!weights) sumOf(op('Mul', [t, t], 'squares'), 'power');
    }
  }
  if (thin || !products) {
    // Summing over the samples first, all columns of one image are enough for the sums.
    const whole = (name: string): string => {
      const wide = op('Cast', [name], `all_${name}_wide`, { to: dtypes.float64.code });
      return op('ReduceSum', [wide, constant(`all_${name}_first`, [0])], `all_${name}`);
    };
    for (const name of weights && tensors.has('float') ? ['hat', 'float'] : ['hat'])
      sumOf(columnsOf(whole(name)), `all_${name}_sum`);
    if (tensors.has('extra')) sumOf(byGroup(whole('extra'), rows, 'all_extra_columns'), 'all_extra_sum');
  }
  const grid = ['shift', 'offset'].map((name) => makeValue(name, 'int64', [out.length]));
  const shifts = ['c', ...(o.target ? ['d'] : [])].map((name) => makeValue(name, 'float32', [groups, name, 1]));
  const model = makeModel({
    opset: 17,
    ir: 8,
    inputs: [
      ...[...tensors].map(([name, t]) => makeValue(name, 'float32', ['N', ...t.dims.slice(1)])),
      ...(products ? shifts : []),
      ...(thin ? grid.slice(0, o.target ? 2 : 1) : []),
    ],
    outputs: outputs.map(([name, type]) => makeValue(name, type)),
    nodes,
    initializers,
  });
  return {
    model,
    columns: conv ? elementCount(out.map((n, d) => Math.ceil(n / (every[d] ?? 1)))) : elementCount(shape.slice(1, -1)),
    positions: conv ? elementCount(out) : elementCount(shape.slice(1, -1)),
    thin,
    grid(part): Feeds {
      if (!thin) return {};
      let cell = part % elementCount(every);
      const offset = every.map((n) => {
        const at = cell % n;
        cell = (cell - at) / n;
        return at;
      });
      const shift = ints(offset.map((at, d) => at * (strides[d] ?? 1)));
      return { shift, ...(o.target && { offset: ints(offset) }) };
    },
  };
}

const ints = (values: readonly number[]): Tensor => ({
  type: 'int64',
  dims: [values.length],
  data: BigInt64Array.from(values, BigInt),
});

/** How many positions it is from one that is taken to the next. */
function thinning(out: readonly number[], positions: number): number[] {
  for (let every = 1; ; every++) {
    const steps = out.map((n) => Math.min(n, every));
    if (out.reduce((all, n, d) => all * Math.ceil(n / steps[d]!), 1) <= positions) return steps;
    if (out.every((n) => every >= n)) return steps;
  }
}

/** Dims of a layer's output for an input of these. */
export function outputDims(layer: Linear, input: readonly number[]): readonly number[] {
  const { groups, rows } = linearSizes(layer);
  if (!isOp(layer.node, 'Conv')) return [...input.slice(0, -1), groups * rows];
  const { out } = convGeometry(layer.node, layer.dims.slice(2), input.slice(2));
  return [input[0] ?? 1, groups * rows, ...out];
}
