import { dtypes, type DType } from '../../graph/dtype.ts';
import type { Draft } from '../../graph/edit.ts';
import type { Weight } from '../../graph/layer.ts';
import { makeTensor } from '../../graph/tensor.ts';
import type { Codes } from '../../numerics/affine.ts';
import { toFloat16 } from '../../numerics/float16.ts';
import type { QuantParams } from '../../numerics/format.ts';
import { int64, stepsOf } from './steps.ts';
import { zeroPoints } from './weights.ts';

/** Codes of a weight seen as rows, and how the weight lies in the model. */
export interface FoldedWeight {
  /** What new names begin with. */
  readonly name: string;
  readonly weight: Weight;
  readonly type: DType;
  /** [rows, columns] */
  readonly codes: Codes;
  /** Per row, or per block along axis 1. */
  readonly params: QuantParams;
  /** Zero points that are no integers. */
  readonly zeros?: Float32Array;
}

/**
 * Stores codes and adds the nodes that decode them: Cast → Sub → Mul → Reshape (→ Transpose), standard operators on constants,
 * which onnxruntime folds into a plain float weight when the session is created: the file stays small, the speed is float's.
 * (DequantizeLinear would not be folded, but computed at every run.) Returns the name of the decoded value.
 */
export function storeFolded(draft: Draft, { name, weight, type, codes, params, zeros }: FoldedWeight): string {
  const { rows, columns } = weight.view();
  const { granularity } = params;
  const size = granularity.per === 'group' ? granularity.size : columns;
  const count = Math.ceil(columns / size);
  draft.requireOpset('', storageOpset(type));
  const chain = stepsOf(draft);
  const to = dtypes.float32.code;
  const perBlock = [rows, count, 1];
  // Half the bits do for a number that many weights share, unless it is too small for them to hold.
  const real = (label: string, values: Float32Array): string => {
    const half = values.every((v) => v === 0 || (Math.abs(v) >= 2 ** -14 && Math.abs(v) <= 65504));
    const stored = draft.add(
      label,
      half ? makeTensor(label, 'float16', perBlock, toFloat16(values)) : makeTensor(label, 'float32', perBlock, values),
    );
    return half ? chain('Cast', [stored], `${stored}_cast`, { to }) : stored;
  };
  const stored = draft.add(
    `${name}_quantized`,
    makeTensor('codes', type, [rows, count, size], padded(codes, rows, columns, size)),
  );
  let value = chain('Cast', [stored], `${name}_cast`, { to });
  if (zeros) value = chain('Sub', [value, real(`${name}_zero_point`, zeros)], `${name}_centred`);
  else if (params.zeroPoint.some((z) => z !== 0)) {
    const zero = draft.add(
      `${name}_zero_point`,
      makeTensor('zero', type, perBlock, zeroPoints(type, params.zeroPoint)),
    );
    value = chain('Sub', [value, chain('Cast', [zero], `${zero}_cast`, { to })], `${name}_centred`);
  }
  value = chain('Mul', [value, real(`${name}_scale`, params.scale)], `${name}_scaled`);
  return inOrder(draft, name, weight, unpadded(draft, name, value, [rows, count, size], columns));
}

/** Cuts what rows were filled up with to whole blocks. */
export function unpadded(
  draft: Draft,
  name: string,
  value: string,
  [rows, count, size]: readonly [number, number, number],
  columns: number,
): string {
  if (count * size === columns) return value;
  const chain = stepsOf(draft);
  const constant = (label: string, values: readonly number[]): string => draft.add(label, int64(values));
  const whole = chain('Reshape', [value, constant(`${name}_padded_shape`, [rows, count * size])], `${name}_padded`);
  const cut = [constant(`${name}_from`, [0]), constant(`${name}_to`, [columns]), constant(`${name}_axis`, [1])];
  return chain('Slice', [whole, ...cut], `${name}_cut`);
}

/** Adds what brings decoded rows [rows, columns], in whatever shape, into the order of the weight; gives the name of the result. */
export function inOrder(draft: Draft, name: string, weight: Weight, rows: string): string {
  const { plain, unrolled } = weight.view();
  const chain = stepsOf(draft);
  const shape = (label: string, dims: readonly number[]): string => draft.add(label, int64(dims));
  const result = `${name}_dequantized`;
  if (plain) return chain('Reshape', [rows, shape(`${name}_shape`, weight.dims)], result);
  // The rows as axes of their own, then in the tensor's order.
  const axes = chain('Reshape', [rows, shape(`${name}_shape`, unrolled.shape)], `${name}_rows`);
  const turned = chain('Transpose', [axes], unrolled.isSplit ? `${name}_ordered` : result, {
    perm: [...unrolled.perm],
  });
  return unrolled.isSplit ? chain('Reshape', [turned, shape(`${name}_dims`, weight.dims)], result) : turned;
}

/** The operator set that a storage type needs. */
export function storageOpset(type: DType): 13 | 21 | 25 {
  const { bits } = dtypes[type];
  return bits < 4 ? 25 : bits < 8 || bits === 16 ? 21 : 13;
}

/** Rows filled up with zeros to whole blocks. */
export function padded<T extends Codes | Int32Array>(codes: T, rows: number, columns: number, size: number): T {
  const width = Math.ceil(columns / size) * size;
  if (width === columns) return codes.slice() as T;
  const filled = new (codes.constructor as new (length: number) => T)(rows * width);
  for (let r = 0; r < rows; r++) filled.set(codes.subarray(r * columns, (r + 1) * columns), r * width);
  return filled;
}
