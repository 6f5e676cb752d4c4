import type { Feeds, Tensor } from '../../../data/types.ts';
import { intAttribute } from '../../../graph/attribute.ts';
import { makeModel, makeNode, makeValue } from '../../../graph/build.ts';
import type { Model } from '../../../graph/model.ts';
import { NodeCodec, type NodeProto, type TensorProto } from '../../../graph/proto.ts';
import { isOp } from '../../../graph/query.ts';
import { makeTensor } from '../../../graph/tensor.ts';

/**
 * Sums over all positions of what a layer reads and of what it should give. For a layer y = W x + b with K weights an output:
 * x is a column of its im2col matrix in the order of the weight's own elements ([in/group, kh, kw], or the K of a Gemm).
 */
export interface Moments {
  readonly groups: number;
  /** K. */
  readonly size: number;
  /** Outputs of one group. */
  readonly rows: number;
  count: number;
  /** Σ x xᵀ, [groups, K, K]. */
  readonly gram: Float64Array;
  /** Σ y xᵀ, [groups, rows, K]. */
  readonly cross: Float64Array;
  /** Σ x, [groups, K]. */
  readonly sum: Float64Array;
  /** Σ y and Σ y², [groups, rows]. */
  readonly target: Float64Array;
  readonly power: Float64Array;
}

/** A layer whose weights can be refitted: Conv, Gemm (A as it is) or MatMul with a matrix. Shapes: weight and input. */
export interface Linear {
  readonly node: NodeProto;
  readonly weight: readonly number[];
  readonly input: readonly number[];
}

/** Whether moments of the layer can be taken. */
export function isLinear(node: NodeProto, weight: readonly number[]): boolean {
  if (isOp(node, 'Conv')) return true;
  if (isOp(node, 'Gemm')) return intAttribute(node, 'transA', 0) === 0;
  return isOp(node, 'MatMul') && weight.length === 2;
}

/** Groups, outputs of a group and weights of an output. */
export function linearSizes({ node, weight }: Linear): { groups: number; rows: number; size: number } {
  const [a = 1, b = 1] = weight;
  if (isOp(node, 'Conv')) {
    const groups = intAttribute(node, 'group', 1);
    return { groups, rows: a / groups, size: weight.slice(1).reduce((p, q) => p * q, 1) };
  }
  const turned = isOp(node, 'Gemm') && intAttribute(node, 'transB', 0) === 1;
  return turned ? { groups: 1, rows: a, size: b } : { groups: 1, rows: b, size: a };
}

export function emptyMoments(layer: Linear): Moments {
  const { groups, rows, size } = linearSizes(layer);
  return {
    groups,
    size,
    rows,
    count: 0,
    gram: new Float64Array(groups * size * size),
    cross: new Float64Array(groups * rows * size),
    sum: new Float64Array(groups * size),
    target: new Float64Array(groups * rows),
    power: new Float64Array(groups * rows),
  };
}

/** What a layer should give: a value of the float model, of which some channels are left, less a shortcut added to it later. */
export interface Target {
  /** Dims of the float value. */
  readonly dims: readonly number[];
  /** Channel axis and the indices that are left; undefined where all are. */
  readonly axis: number;
  readonly kept: Int32Array | undefined;
  readonly shortcut: boolean;
}

/**
 * The graph that takes the moments of one batch: inputs `x` (what the layer reads), `float` (see `Target`) and, if asked,
 * `shortcut`; outputs gram, cross, sum, target, power. The im2col matrix is a depthwise Conv with identity kernels, which inherits all of the layer's
 * padding, strides and dilations.
 */
export function momentsGraph(layer: Linear, aim: Target): Model {
  const { groups, rows, size } = linearSizes(layer);
  const constants: TensorProto[] = [];
  const vector = (name: string, values: readonly number[]): string => {
    constants.push(makeTensor(name, 'int64', [values.length], BigInt64Array.from(values, BigInt)));
    return name;
  };
  const left = aim.dims.map((size, d) => (d === aim.axis ? (aim.kept?.length ?? size) : size));
  const nodes: NodeProto[] = [];
  if (aim.kept)
    nodes.push(makeNode('Gather', ['float', vector('kept', [...aim.kept])], ['y_kept'], { axis: aim.axis }));
  const kept = aim.kept ? 'y_kept' : 'float';
  nodes.push(aim.shortcut ? makeNode('Sub', [kept, 'shortcut'], ['y']) : makeNode('Identity', [kept], ['y']));
  const reading: NodeProto[] = isOp(layer.node, 'Conv')
    ? columnsOfConv(layer, groups, size, constants, vector)
    : [
        makeNode('Reshape', ['x', vector('x_rows', [-1, size])], ['x_flat']),
        makeNode('Transpose', ['x_flat'], ['x_turned'], { perm: [1, 0] }),
        makeNode('Reshape', ['x_turned', vector('x_shape', [1, size, -1])], ['columns']),
        makeNode('Reshape', ['y', vector('y_rows', [-1, rows])], ['y_flat']),
        makeNode('Transpose', ['y_flat'], ['y_turned'], { perm: [1, 0] }),
        makeNode('Reshape', ['y_turned', vector('y_shape', [1, rows, -1])], ['targets']),
      ];
  const last = vector('last', [2]);
  nodes.push(
    ...reading,
    makeNode('Transpose', ['columns'], ['turned'], { perm: [0, 2, 1] }),
    makeNode('MatMul', ['columns', 'turned'], ['gram']),
    makeNode('MatMul', ['targets', 'turned'], ['cross']),
    makeNode('ReduceSum', ['columns', last], ['sum'], { keepdims: 0 }),
    makeNode('ReduceSum', ['targets', last], ['target'], { keepdims: 0 }),
    makeNode('Mul', ['targets', 'targets'], ['squares']),
    makeNode('ReduceSum', ['squares', last], ['power'], { keepdims: 0 }),
  );
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [
      makeValue('x', 'float32', ['N', ...layer.input.slice(1)]),
      makeValue('float', 'float32', ['N', ...aim.dims.slice(1)]),
      ...(aim.shortcut ? [makeValue('shortcut', 'float32', ['N', ...left.slice(1)])] : []),
    ],
    outputs: ['gram', 'cross', 'sum', 'target', 'power'].map((name) => makeValue(name, 'float32')),
    nodes,
    initializers: constants,
  });
}

function columnsOfConv(
  layer: Linear,
  groups: number,
  size: number,
  constants: TensorProto[],
  vector: (name: string, values: readonly number[]) => string,
): NodeProto[] {
  const channels = layer.input[1] as number;
  const kernel = layer.weight.slice(2);
  const taps = kernel.reduce((a, b) => a * b, 1);
  const identity = new Float32Array(channels * taps * taps);
  for (let c = 0; c < channels; c++) for (let t = 0; t < taps; t++) identity[(c * taps + t) * taps + t] = 1;
  constants.push(makeTensor('identity', 'float32', [channels * taps, 1, ...kernel], identity));
  const kept = layer.node.attribute.filter((a) => a.name !== 'group');
  const conv = makeNode('Conv', ['x', 'identity'], ['patches'], { group: channels });
  return [
    NodeCodec.amend(conv, { attribute: [...conv.attribute, ...kept] }),
    ...byGroup('patches', 'columns', groups, size, vector),
    ...byGroup('y', 'targets', groups, (layer.weight[0] as number) / groups, vector),
  ];
}

/** [N, groups · rows, …] → [groups, rows, N · positions]. */
function byGroup(
  from: string,
  to: string,
  groups: number,
  rows: number,
  vector: (name: string, values: readonly number[]) => string,
): NodeProto[] {
  return [
    makeNode('Reshape', [from, vector(`${to}_flat_shape`, [0, groups * rows, -1])], [`${to}_flat`]),
    makeNode('Transpose', [`${to}_flat`], [`${to}_turned`], { perm: [1, 0, 2] }),
    makeNode('Reshape', [`${to}_turned`, vector(`${to}_shape`, [groups, rows, -1])], [to]),
  ];
}

/** Adds one batch's sums. `positions` is how many columns the batch had. */
export function addMoments(into: Moments, got: Feeds, positions: number): void {
  for (const name of ['gram', 'cross', 'sum', 'target', 'power'] as const) {
    const data = (got[name] as Tensor).data as Float32Array;
    const sums = into[name];
    for (let i = 0; i < sums.length; i++) sums[i] = (sums[i] as number) + (data[i] as number);
  }
  into.count += positions;
}
