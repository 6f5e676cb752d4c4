import { dtypes } from '../../graph/dtype.ts';
import type { Draft } from '../../graph/edit.ts';
import type { Weight } from '../../graph/layer.ts';
import { makeTensor } from '../../graph/tensor.ts';
import { codeArray } from '../../numerics/affine.ts';
import { fromFloat16, toFloat16 } from '../../numerics/float16.ts';
import { gridOf, type FormatCodes } from '../../numerics/formats/apply.ts';
import { inOrder, padded, storageOpset, unpadded } from './folded.ts';
import { int64, stepsOf } from './steps.ts';
import { smallestType } from './weights.ts';

/** How weights of a format lie in the file. */
export const storages = {
  codes: 'integers and a table, which every runtime knows and WeightEncoder packs further',
  onnx: 'the types FLOAT8E4M3FN and FLOAT8E5M2 for fp8_e4m3 and fp8_e5m2, which other tools read (operator set 19); else as codes',
  values: 'float32 as before, of few values, for qtool pack, which makes the least of it',
} as const;
export type FormatStorage = keyof typeof storages;

/**
 * Stores a weight as codes of a number format and adds what decodes them: for integers Cast and Mul, for any other set a table that
 * GatherElements looks up, then Mul by the scales; where every group has levels of its own, one table of all of them. All of it depends on
 * constants, so onnxruntime folds it into a plain float weight when it creates a session. What comes out is `values` bit for bit.
 *
 * @returns the name of the decoded value, in the weight's own order.
 */
export function storeFormat(
  draft: Draft,
  name: string,
  weight: Weight,
  held: FormatCodes,
  storage: Exclude<FormatStorage, 'values'> = 'codes',
): string {
  const { rows, columns } = weight.view();
  const { groups, codes, sharing } = held;
  const chain = stepsOf(draft);
  const shape = shapesOf(held, rows, columns);
  const { size } = shape;
  const levels = groups[0]!.set.levels;
  const shared = groups.every(({ set }) => set.levels === levels);
  const [first = 0] = levels;
  const last = levels.at(-1) ?? 0;
  const whole = shared && Number.isInteger(first) && first >= -(2 ** 15) && last < 2 ** 15 && levels.every((level, i) => level === first + i); // prettier-ignore
  const bits = Math.ceil(Math.log2(Math.max(2, shared ? levels.length : mostLevels(held))));
  // Bytes, which every runtime knows; nibbles where the model is of an operator set that has them. `WeightEncoder` packs further.
  const least = draft.opset('') >= storageOpset('uint4') ? 4 : 8;
  const signed = whole && first < 0;
  const type = smallestType(Math.max(least, signed ? signedBits(first, levels.length) : bits), signed);
  const kept = codeArray({ kind: 'int', bits: dtypes[type].bits, signed, symmetric: signed }, codes.length);
  for (const [i, code] of codes.entries()) kept[i] = whole ? code + first : code;
  const float = storage === 'onnx' ? held.format.type : undefined;
  const inShape = <T extends typeof kept>(all: T): T =>
    typeof sharing === 'object' ? padded(all, rows, columns, size) : all;
  const tensor = float
    ? makeTensor('codes', float, shape.codes, inShape(floatBytes(codes, levels)))
    : makeTensor('codes', type, shape.codes, inShape(kept));
  const stored = draft.add(`${name}_codes`, tensor);
  const cast = (to: 'float32' | 'int32', value: string): string =>
    chain('Cast', [value], `${name}_cast`, { to: dtypes[to].code });
  let value: string;
  if (whole || float) value = cast('float32', stored);
  else {
    const table = shared ? levels : ownTables(held);
    const each = table.length / (shared ? 1 : groups.length);
    let index = cast('int32', stored);
    if (!shared && groups.length > 1) {
      const offsets = Int32Array.from(groups, (_, g) => g * each);
      const from = draft.add(`${name}_offset`, makeTensor('offset', 'int32', shape.params, offsets));
      index = chain('Add', [index, from], `${name}_index`);
    }
    value = lookedUp(draft, name, real(draft, `${name}_levels`, [table.length], table), index, shape.codes);
  }
  if (shared && groups.some(({ scale }) => scale !== 1)) {
    const scales = Float32Array.from(groups, ({ scale }) => scale);
    value = chain('Mul', [value, scalesOf(draft, name, shape.params, scales)], `${name}_scaled`);
  }
  if (typeof sharing === 'object')
    value = unpadded(draft, name, value, shape.codes as [number, number, number], columns);
  return inOrder(draft, name, weight, value);
}

/** Codes as the bytes of an 8-bit float: the sign first, then the number of the magnitude. */
function floatBytes(codes: Uint16Array, levels: Float32Array): Uint8Array {
  const zero = levels.indexOf(0);
  return Uint8Array.from(codes, (code) => (code < zero ? 0x80 : 0) | Math.abs(code - zero));
}

interface Shapes {
  readonly codes: readonly number[];
  /** Of one number for each group, so that it broadcasts over the codes. */
  readonly params: readonly number[];
  /** Values in a block. */
  readonly size: number;
}

function shapesOf({ sharing, layout }: FormatCodes, rows: number, columns: number): Shapes {
  const all = rows * columns;
  if (sharing === 'tensor') return { codes: [rows, columns], params: [1], size: all };
  if (sharing === 'channel') return { codes: [rows, columns], params: [rows, 1], size: columns };
  const { axis, inner, size } = layout;
  if (typeof sharing !== 'object')
    return { codes: [all / axis / inner, axis, inner], params: [1, axis, 1], size: inner };
  const count = Math.ceil(columns / size);
  return { codes: [rows, count, size], params: [rows, count, 1], size };
}

const mostLevels = ({ groups }: FormatCodes): number =>
  groups.reduce((most, { set }) => Math.max(most, set.levels.length), 1);

const signedBits = (first: number, count: number): number =>
  1 + Math.ceil(Math.log2(Math.max(-first, first + count, 1)));

/** The levels of every group as they come out, one behind the other, each filled up to as many as the largest set has. */
function ownTables(held: FormatCodes): Float32Array {
  const most = mostLevels(held);
  const tables = new Float32Array(most * held.groups.length);
  for (const [g, group] of held.groups.entries()) {
    const { levels } = gridOf(group);
    tables.set(levels, g * most);
    tables.fill(levels.at(-1)!, g * most + levels.length, (g + 1) * most);
  }
  return tables;
}

/** Scales, by a table where they are few: powers of two, and the 8-bit floats of a block format. */
function scalesOf(draft: Draft, name: string, dims: readonly number[], scales: Float32Array): string {
  const distinct = Float32Array.from(new Set(scales)).sort();
  const asTable = distinct.length <= 256 && scales.length + 4 * distinct.length + 200 < bytesOf(scales);
  if (!asTable) return real(draft, `${name}_scale`, dims, scales);
  const chain = stepsOf(draft);
  const at = new Map(Array.from(distinct, (scale, i) => [scale, i]));
  const codes = draft.add(
    `${name}_scale_codes`,
    makeTensor(
      'codes',
      'uint8',
      dims,
      Uint8Array.from(scales, (s) => at.get(s)!),
    ),
  );
  const index = chain('Cast', [codes], `${name}_scale_index`, { to: dtypes.int32.code });
  const table = real(draft, `${name}_scale_table`, [distinct.length], distinct);
  return lookedUp(draft, `${name}_scale`, table, index, dims);
}

/** Adds what looks int32 places of these dims up in a vector. GatherElements is much faster than Gather on vectors. */
function lookedUp(draft: Draft, name: string, table: string, index: string, dims: readonly number[]): string {
  const chain = stepsOf(draft);
  const flat = chain('Reshape', [index, draft.add(`${name}_flat`, int64([-1]))], `${name}_flat_index`);
  const found = chain('GatherElements', [table, flat], `${name}_found`, { axis: 0 });
  return chain('Reshape', [found, draft.add(`${name}_shape`, int64(dims))], `${name}_looked_up`);
}

const exactInHalf = (values: Float32Array): boolean => {
  const back = fromFloat16(toFloat16(values));
  return values.every((v, i) => v === back[i]);
};
const bytesOf = (values: Float32Array): number => values.length * (exactInHalf(values) ? 2 : 4);

/** Float32 constants, in half the bytes where that holds them exactly. */
function real(draft: Draft, hint: string, dims: readonly number[], values: Float32Array): string {
  if (values.length < 32 || !exactInHalf(values)) return draft.add(hint, makeTensor('reals', 'float32', dims, values));
  const stored = draft.add(hint, makeTensor('reals', 'float16', dims, toFloat16(values)));
  return stepsOf(draft)('Cast', [stored], `${hint}_cast`, { to: dtypes.float32.code });
}
