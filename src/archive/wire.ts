import { damaged } from './damaged.ts';

/** What a walk over an ONNX file finds. */
export interface Walk {
  /** Fields of elements that are long enough to be stored by themselves, at their places in the file. */
  readonly cuts: readonly { readonly start: number; readonly length: number; readonly owner: StoredTensor }[];
  readonly tensors: readonly StoredTensor[];
  /** Bytes of the file. */
  readonly size: number;
}

export interface StoredTensor {
  name: string;
  /** Number of its type in onnx.proto. */
  type: number;
  readonly dims: number[];
  /** Where its elements are, by the field of TensorProto. */
  readonly fields: { readonly field: number; readonly start: number; readonly length: number }[];
  /** Keys and values of external_data. */
  readonly outside: Record<string, string>;
}

/**
 * Messages on the way to tensors, and in which field which of these stands: 0 the model, 1 a graph, 2 a node, 3 an attribute, 4 training, 5 a
 * function, 6 a sparse tensor, 7 a tensor, 8 an entry of external_data.
 */
const inside: Readonly<Record<number, number>>[] = [
  { 7: 1, 20: 4, 25: 5 },
  { 1: 2, 5: 7, 15: 6 },
  { 5: 3 },
  { 5: 7, 6: 1, 10: 7, 11: 1, 22: 6, 23: 6 },
  { 1: 1, 2: 1 },
  { 7: 2, 11: 3 },
  { 1: 7, 2: 7 },
  { 13: 8 },
  {},
];

/** float_data, int32_data, int64_data, raw_data, double_data, uint64_data: packed, each is one run of bytes. */
const elementFields = [4, 5, 7, 9, 10, 11];

/** Graphs in graphs in graphs: more is no model, and a walk must not run out of stack. */
const deepest = 200;

/**
 * Finds the bytes of an ONNX file that hold tensors' elements, at the level of protobuf's wire format. The same walk goes over a file from which they
 * were cut: the lengths say what is missing, so that no list of places has to be stored.
 * @param least fields of elements of so many bytes are cut; 0: none, whatever the bytes are.
 * @param cut whether they are missing.
 * @throws QtoolError where it is no protobuf message of the form of an ONNX model.
 * @see https://protobuf.dev/programming-guides/encoding/ and onnx.proto for the numbers of the fields
 */
export function walk(bytes: Uint8Array, least: number, cut: boolean): Walk {
  const cuts: Walk['cuts'][number][] = [];
  const tensors: StoredTensor[] = [];
  /** Bytes of the file that are not in `bytes`. */
  let gone = 0;
  let at = 0;

  const varint = (): number => readVarint(() => bytes[at++]);

  function message(kind: number, end: number, depth: number, tensor: StoredTensor): void {
    const texts: string[] = [];
    while (depth > 0 ? at + gone < end : at < bytes.length) {
      const tag = varint();
      const field = Math.floor(tag / 8);
      const wire = tag % 8;
      const value = wire === 5 ? 4 : wire === 1 ? 8 : wire === 0 || wire === 2 ? varint() : damaged();
      const start = at + gone;
      const next = inside[kind]![field];
      const elements = kind === 7 && elementFields.includes(field);
      if (wire === 0) {
        if (kind === 7 && field === 1) tensor.dims.push(value);
        if (kind === 7 && field === 2) tensor.type = value;
        continue;
      }
      if (start + value > end || depth > deepest) damaged();
      if (wire === 2 && next !== undefined) {
        if (next === 7) tensors.push((tensor = { name: '', type: 0, dims: [], fields: [], outside: {} }));
        message(next, start + value, depth + 1, tensor);
        continue;
      }
      if (wire === 2 && elements) tensor.fields.push({ field, start, length: value });
      if (wire === 2 && elements && value >= least) {
        cuts.push({ start, length: value, owner: tensor });
        if (cut) gone += value;
        else at += value;
      } else if (wire === 2 && kind === 7 && field === 1) while (at + gone < start + value) tensor.dims.push(varint());
      else {
        if (kind > 6) texts[field] = new TextDecoder().decode(bytes.subarray(at, at + value));
        at += value;
      }
    }
    if (at > bytes.length || (depth > 0 && at + gone !== end)) damaged();
    if (kind === 7) tensor.name = texts[8] ?? '';
    if (kind === 8) tensor.outside[texts[1] ?? ''] = texts[2] ?? '';
  }

  if (least > 0) message(0, Infinity, 0, undefined as never);
  else at = bytes.length;
  return { cuts, tensors, size: at + gone };
}

/** A whole number of seven bits a byte, the lowest first. @param next the next byte, where there is one */
export function readVarint(next: () => number | undefined): number {
  let value = 0;
  for (let k = 0; k < 10; k++) {
    const byte = next() ?? damaged();
    value += (byte & 127) * 2 ** (7 * k);
    if (byte < 128) return value;
  }
  return damaged();
}
