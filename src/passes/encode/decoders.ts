import { dtypes } from '../../graph/dtype.ts';
import { planeWeights } from './planes.ts';
import { valuesOf, type Storable } from './source.ts';
import type { Store } from './store.ts';

/**
 * Pieces of decoders. They use operators and types that onnxruntime has CPU kernels for and folds when a session is created
 * (not NonZero, say: it folds nothing whose size it cannot tell beforehand), and among those the quick ones: on a vector of
 * a million elements GatherElements takes 2 ms where Gather takes 70. All read operator set 13.
 */
export const decoderOpset = 13;

const int64s = (...values: number[]): BigInt64Array => BigInt64Array.from(values, BigInt);
export const int32s = (...values: number[]): Int32Array => Int32Array.from(values);

/** A vector of everything there is. */
export function flattened(store: Store, value: string): string {
  return reshaped(store, value, [-1]);
}

export function reshaped(store: Store, value: string, dims: readonly number[], output?: string): string {
  return store.node('Reshape', [value, store.shared('int64', [dims.length], int64s(...dims))], {}, output);
}

/** Bytes uint8 [n] → their bits, lowest first, uint8 [8 n]. Looked up: the table of all bytes is itself computed. */
export function bitsOf(store: Store, bytes: string): string {
  const table = store.once('bits of all bytes', (s) => {
    const number = (value: number): string => s.shared('int32', [], int32s(value));
    const all = s.node('Range', [number(0), number(256), number(1)]);
    const powers = s.shared('int32', [8], int32s(1, 2, 4, 8, 16, 32, 64, 128));
    const shifted = s.node('Div', [reshaped(s, all, [256, 1]), powers]);
    return s.node('Cast', [s.node('Mod', [shifted, number(2)])], { to: dtypes.uint8.code });
  });
  return flattened(store, store.node('Gather', [table, castTo(store, 'int32', bytes)]));
}

/** Bytes of the values that `bitsOf` computes on its way. */
export const bitsWork = (bytes: number): number => (4 + 8 + 8) * bytes;

/** Bits uint8 [planes · n], plane after plane, lowest first → numbers int32 [n]. */
export function numbersOf(store: Store, bits: string, planes: number, signed = false): string {
  if (planes === 1 && !signed) return castTo(store, 'int32', bits);
  const weights = store.shared('int8', [planes], planeWeights(planes, signed));
  return store.node('MatMulInteger', [weights, reshaped(store, bits, [planes, -1])]);
}

export const numbersWork = (planes: number, count: number): number => (planes === 1 ? 4 : planes + 4) * count;

/**
 * Where the mask (uint8, 0 or 1) is one, the next element of the vector `rest`; where it is zero, `other`. `rest` may be longer
 * than the mask has ones.
 */
export function spread(store: Store, mask: string, rest: string, type: Storable, other: number): string {
  const whole = castTo(store, 'int32', mask);
  const ordinal = store.node('CumSum', [whole, store.shared('int64', [], int64s(0))]);
  const place = store.node('Mul', [ordinal, whole]);
  const list = store.node('Concat', [store.shared(type, [1], valuesOf(type, [other])), rest], { axis: 0 });
  return store.node('GatherElements', [list, place]);
}

export const spreadWork = (type: Storable, count: number, rest: number): number =>
  12 * count + bytesEach(type) * (count + rest);

/** The elements of a table that numbers int32 stand for. */
export function lookUp(store: Store, type: Storable, table: readonly number[], numbers: string): string {
  return store.node('GatherElements', [store.shared(type, [table.length], valuesOf(type, table)), numbers]);
}

export const bytesEach = (type: Storable): number => dtypes[type].bits / 8;

/** A vector of numbers as another type. */
export function castTo(store: Store, type: Storable, vector: string): string {
  return store.node('Cast', [vector], { to: dtypes[type].code });
}
