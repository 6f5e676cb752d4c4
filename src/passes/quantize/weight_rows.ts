import { intAttribute } from '../../graph/attribute.ts';
import { isOp } from '../../graph/query.ts';
import { dimsOf, floatData, transposed } from '../../graph/tensor.ts';
import type { Codes } from '../../numerics/affine.ts';
import type { WeightSite } from './targets.ts';

/**
 * A weight as [rows, columns], a row being what one output is made of, so that blocks of a row share a scale and a layer's
 * second moments are [columns, columns]. A Conv's row is [in/group, kh, kw], a Gemm's or MatMul's its K, an embedding's one
 * entry, an LSTM's or GRU's one gate's unit.
 */
export interface WeightRows {
  readonly data: Float32Array;
  readonly rows: number;
  readonly columns: number;
  /** The tensor itself is [columns, rows]. */
  readonly turned: boolean;
}

/** Whether the site is a matrix that a Gemm or MatMul multiplies its input with from the right. */
export function isMatrix({ node, input, weight }: WeightSite): boolean {
  return input === 1 && weight.dims.length === 2 && isOp(node, 'Gemm', 'MatMul');
}

/** Whether a Gemm reads its weights as [N, K]. */
export function transB({ node }: WeightSite): boolean {
  return isOp(node, 'Gemm') && intAttribute(node, 'transB', 0) === 1;
}

/** Whether the rows are the tensor's columns. */
export function isTurned(site: WeightSite): boolean {
  return isMatrix(site) && !transB(site);
}

export function weightRows(site: WeightSite): WeightRows {
  const dims = dimsOf(site.weight);
  const data = floatData(site.weight);
  const turned = isTurned(site);
  if (turned) {
    const [columns, rows] = dims as [number, number];
    return { data: transposed(data, columns, rows), rows, columns, turned };
  }
  // Directions and gates of a recurrent layer are outputs alike.
  const lead = isOp(site.node, 'LSTM', 'GRU', 'RNN') ? 2 : 1;
  const rows = dims.slice(0, lead).reduce((a, b) => a * b, 1);
  return { data, rows, columns: data.length / rows, turned };
}

/** Codes [rows, columns] → [columns, rows]. */
export function turnCodes<T extends Codes>(codes: T, rows: number, columns: number): T {
  const result = codes.slice() as T;
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) result[c * rows + r] = codes[r * columns + c] as number;
  return result;
}
