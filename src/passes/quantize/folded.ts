import { makeNode } from '../../graph/build.ts';
import { dtypes, type DType } from '../../graph/dtype.ts';
import type { Draft } from '../../graph/edit.ts';
import { makeTensor } from '../../graph/tensor.ts';
import type { Codes } from '../../numerics/affine.ts';
import { toFloat16 } from '../../numerics/float16.ts';
import type { QuantParams } from '../../numerics/format.ts';
import { dequantizedName, quantizedName, scaleName, zeroPointName } from './qdq.ts';
import { zeroPoints } from './weights.ts';

/** Codes of a weight seen as rows, and how the weight lies in the model. */
export interface FoldedWeight {
  readonly name: string;
  /** Dims of the weight itself. */
  readonly dims: readonly number[];
  readonly rows: number;
  readonly columns: number;
  /** The weight itself is [columns, rows]. */
  readonly turned: boolean;
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
 * (DequantizeLinear would not be folded, but computed at every run.) The decoded value is called `dequantizedName(name)`.
 */
export function storeFolded(draft: Draft, weight: FoldedWeight): void {
  const { name, dims, rows, columns, type, params } = weight;
  const { granularity } = params;
  const size = granularity.per === 'group' ? granularity.size : columns;
  const count = Math.ceil(columns / size);
  draft.requireOpset('', storageOpset(type));
  const constant = (label: string, values: readonly number[]): string => {
    draft.setInitializer(makeTensor(label, 'int64', [values.length], BigInt64Array.from(values, BigInt)));
    return label;
  };
  const chain = (op: string, inputs: string[], step: string, attributes: Record<string, number | number[]> = {}) => {
    draft.addNode(makeNode(op, inputs, [step], attributes));
    return step;
  };
  const to = dtypes.float32.code;
  const perBlock = [rows, count, 1];
  // Half the bits do for a number that many weights share, unless it is too small for them to hold.
  const real = (label: string, values: Float32Array): string => {
    const half = values.every((v) => v === 0 || (Math.abs(v) >= 2 ** -14 && Math.abs(v) < 65504));
    draft.setInitializer(
      half ? makeTensor(label, 'float16', perBlock, toFloat16(values)) : makeTensor(label, 'float32', perBlock, values),
    );
    return half ? chain('Cast', [label], `${label}_cast`, { to }) : label;
  };
  const codes = padded(weight.codes, rows, columns, size);
  draft.setInitializer(makeTensor(quantizedName(name), type, [rows, count, size], codes));
  let value = chain('Cast', [quantizedName(name)], `${name}_cast`, { to });
  if (weight.zeros) value = chain('Sub', [value, real(zeroPointName(name), weight.zeros)], `${name}_centred`);
  else if (params.zeroPoint.some((z) => z !== 0)) {
    const zeros = zeroPointName(name);
    draft.setInitializer(makeTensor(zeros, type, perBlock, zeroPoints(type, params.zeroPoint)));
    value = chain('Sub', [value, chain('Cast', [zeros], `${zeros}_cast`, { to })], `${name}_centred`);
  }
  value = chain('Mul', [value, real(scaleName(name), params.scale)], `${name}_scaled`);
  if (count * size !== columns) {
    value = chain('Reshape', [value, constant(`${name}_padded_shape`, [rows, count * size])], `${name}_padded`);
    const cut = [constant(`${name}_from`, [0]), constant(`${name}_to`, [columns]), constant(`${name}_axis`, [1])];
    value = chain('Slice', [value, ...cut], `${name}_cut`);
  }
  const result = dequantizedName(name);
  const shape = constant(`${name}_shape`, weight.turned ? [rows, columns] : dims);
  value = chain('Reshape', [value, shape], weight.turned ? `${name}_rows` : result);
  if (weight.turned) chain('Transpose', [value], result, { perm: [1, 0] });
}

/** The operator set that a storage type needs. */
export function storageOpset(type: DType): 13 | 21 | 25 {
  const { bits } = dtypes[type];
  return bits < 4 ? 25 : bits < 8 || bits === 16 ? 21 : 13;
}

/** Rows filled up with zeros to whole blocks. */
function padded(codes: Codes, rows: number, columns: number, size: number): Codes {
  const width = Math.ceil(columns / size) * size;
  if (width === columns) return codes;
  const filled = new (codes.constructor as new (length: number) => Codes)(rows * width);
  for (let r = 0; r < rows; r++) filled.set(codes.subarray(r * columns, (r + 1) * columns), r * width);
  return filled;
}
