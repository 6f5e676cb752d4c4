import { makeNode } from '../../graph/build.ts';
import { dtypes, type DType } from '../../graph/dtype.ts';
import type { Draft } from '../../graph/edit.ts';
import { makeTensor } from '../../graph/tensor.ts';
import type { Codes } from '../../numerics/affine.ts';
import type { QuantParams } from '../../numerics/format.ts';
import { dequantizedName, quantizedName, scaleName, zeroPointName } from './qdq.ts';

/** A weight seen as rows of blocks: what shares a scale lies together. */
export interface Blocks {
  /** Dims of the weight itself. */
  readonly dims: readonly number[];
  readonly rows: number;
  readonly columns: number;
  /** Weights that share a scale; `columns` for one scale a row. */
  readonly size: number;
}

/** A weight as [rows, columns], its first axis the rows; `size` null = a whole row. */
export function blocksOf(dims: readonly number[], size: number | null): Blocks {
  const rows = dims[0] ?? 1;
  const columns = dims.slice(1).reduce((a, b) => a * b, 1);
  return { dims, rows, columns, size: Math.min(size ?? columns, columns) };
}

/** The weight with its rows filled up with zeros to whole blocks: [rows, blocks, size]. */
export function padded(
  data: Float32Array,
  { rows, columns, size }: Blocks,
): { data: Float32Array; dims: [number, number, number] } {
  const blocks = Math.ceil(columns / size);
  const dims: [number, number, number] = [rows, blocks, size];
  if (blocks * size === columns) return { data, dims };
  const filled = new Float32Array(rows * blocks * size);
  for (let r = 0; r < rows; r++) filled.set(data.subarray(r * columns, (r + 1) * columns), r * blocks * size);
  return { data: filled, dims };
}

/**
 * Stores codes and adds the nodes that decode them: Cast → Sub → Mul → Reshape, standard operators on constants, which
 * onnxruntime folds into a plain float weight when the session is created: the file stays small, the speed is float's.
 * (DequantizeLinear would not be folded, but computed at every run.) Returns the decoded value's name.
 * @param codes of the padded blocks, row-major [rows, blocks, size]; `params` per group along axis 2 of that.
 */
export function storeFolded(
  draft: Draft,
  weight: string,
  type: DType,
  blocks: Blocks,
  codes: Codes,
  params: QuantParams,
): string {
  const { rows, columns, size } = blocks;
  const count = Math.ceil(columns / size);
  const ragged = count * size !== columns;
  const result = dequantizedName(weight);
  draft.requireOpset('', dtypes[type].bits < 8 ? 21 : 13);
  const constant = (name: string, values: number[]): string => {
    draft.setInitializer(makeTensor(name, 'int64', [values.length], BigInt64Array.from(values, BigInt)));
    return name;
  };
  const chain = (op: string, inputs: string[], step: string, attributes = {}): string => {
    draft.addNode(makeNode(op, inputs, [step], attributes));
    return step;
  };
  draft.setInitializer(makeTensor(quantizedName(weight), type, [rows, count, size], codes));
  draft.setInitializer(makeTensor(scaleName(weight), 'float32', [rows, count, 1], params.scale));
  let value = chain('Cast', [quantizedName(weight)], `${weight}_cast`, { to: dtypes.float32.code });
  if (params.zeroPoint.some((z) => z !== 0)) {
    draft.setInitializer(
      makeTensor(zeroPointName(weight), 'float32', [rows, count, 1], Float32Array.from(params.zeroPoint)),
    );
    value = chain('Sub', [value, zeroPointName(weight)], `${weight}_centred`);
  }
  value = chain('Mul', [value, scaleName(weight)], `${weight}_scaled`);
  if (ragged) {
    value = chain('Reshape', [value, constant(`${weight}_padded_shape`, [rows, count * size])], `${weight}_rows`);
    value = chain(
      'Slice',
      [value, constant(`${weight}_from`, [0]), constant(`${weight}_to`, [columns]), constant(`${weight}_axis`, [1])],
      `${weight}_cut`,
    );
  }
  return chain('Reshape', [value, constant(`${weight}_shape`, [...blocks.dims])], result);
}
