import { axesView } from '../graph/layer.ts';
import { productOf } from '../graph/ops.ts';
import type { NodeProto } from '../graph/proto.ts';
import { fromRows, toRows, type RowView } from '../numerics/rows.ts';
import { given } from '../util/must.ts';

/** A Conv, Gemm or MatMul and the dims of its weight, input 1. */
export interface Linear {
  readonly node: NodeProto;
  readonly dims: readonly number[];
}

function viewOf({ node, dims }: Linear): { readonly view: RowView; readonly groups: number; readonly turned: boolean } {
  const axes = given(productOf(node)?.axes(node, 1, dims.length), `the axes of the weight of ${node.op_type}`);
  return { view: axesView(dims, axes), groups: axes.groups, turned: axes.out[0] !== 0 };
}

/** Groups, outputs of a group and weights of an output (K); `turned` where the weight lies as [K, outputs]. */
export function linearSizes(layer: Linear): {
  readonly groups: number;
  readonly rows: number;
  readonly size: number;
  readonly turned: boolean;
} {
  const { view, groups, turned } = viewOf(layer);
  return { groups, rows: view.rows / groups, size: view.columns, turned };
}

/** A weight as [outputs, K] row-major, K in the order of its own elements, in double precision. */
export function readRows(layer: Linear, data: ArrayLike<number>): Float64Array {
  return toRows(Float64Array.from(data), viewOf(layer).view);
}

/** The reverse of `readRows`. */
export function writeRows(layer: Linear, values: ArrayLike<number>): Float64Array {
  return fromRows(Float64Array.from(values), viewOf(layer).view);
}
