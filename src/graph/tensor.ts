import { pack } from '../numerics/pack.ts';
import { QtoolError } from '../util/error.ts';
import { bytesOf, isStored, piecesOf } from './bytes.ts';
import { dtypeOf, dtypes, type DType, type TypedArray } from './dtype.ts';
import { TensorCodec, int64, toBigInt, toNumber, type TensorProto } from './proto.ts';

/** Shape of a stored tensor; [] for a scalar. */
export function dimsOf(tensor: TensorProto): number[] {
  return tensor.dims.map(toNumber);
}

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(dims: readonly number[]): number {
  return dims.reduce((product, dim) => product * dim, 1);
}

/** The element type of a stored tensor. @throws QtoolError for UNDEFINED and unknown numbers. */
export function typeOf(tensor: TensorProto): DType {
  const type = dtypeOf(tensor.data_type);
  if (type) return type;
  throw new QtoolError('model', `tensor has the unknown element type ${tensor.data_type}`, { at: tensor.name });
}

/** Bytes the elements take when stored, sub-byte types packed. */
export function storedBytes(type: DType, elements: number): number {
  return Math.ceil((dtypes[type].bits * elements) / 8);
}

/** Bytes of a tensor's data in the model, whatever field holds it. */
export function tensorBytes(tensor: TensorProto): number {
  if (typeOf(tensor) === 'string') return tensor.string_data.reduce((sum, s) => sum + s.length, 0);
  return storedBytes(typeOf(tensor), elementCount(dimsOf(tensor)));
}

/** Bytes of all initializers of a graph. */
export function weightBytes(graph: { readonly initializer: readonly TensorProto[] }): number {
  return graph.initializer.reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
}

/**
 * The elements of a stored tensor as a fresh or shared typed array (treat it as read-only): raw_data or the typed field that
 * onnx.proto gives for the type. 4- and 2-bit types are unpacked to one element a byte, sign-extended; float16 and bfloat16
 * stay bit patterns.
 * @throws QtoolError for string and complex tensors and where the data's length does not fit the shape.
 */
export function tensorData(tensor: TensorProto): TypedArray {
  const type = typeOf(tensor);
  const count = elementCount(dimsOf(tensor));
  const { array, bits } = dtypes[type];
  if (!array) throw new QtoolError('model', `tensor of type ${type} has no numeric data`, { at: tensor.name });
  const data =
    bits < 8 ? unpack(lowBytes(tensor, type), count, bits, array === Int8Array) : wholeElements(tensor, type);
  if (data.length === count) return data;
  const message = `tensor holds ${data.length} elements, its shape [${dimsOf(tensor).join(', ')}] says ${count}`;
  const hint = 'the file is damaged, or its external data is missing';
  throw new QtoolError('model', message, { at: tensor.name, hint });
}

/**
 * The same elements in pieces, for a walk over all of them: what stays in a file is not in memory at once. A piece is valid until the next
 * one is asked for. @throws as `tensorData`.
 */
export function* tensorPieces(tensor: TensorProto): Generator<TypedArray> {
  const type = typeOf(tensor);
  const { array, bits } = dtypes[type];
  const raw = tensor.raw_data;
  if (!array || bits < 8 || !isStored(raw) || raw.length !== storedBytes(type, elementCount(dimsOf(tensor)))) {
    yield tensorData(tensor);
    return;
  }
  for (const piece of piecesOf(raw))
    yield new array(piece.buffer as ArrayBuffer, piece.byteOffset, piece.length / array.BYTES_PER_ELEMENT);
}

/** The elements as numbers; int64 beyond 2^53 loses its low bits. */
export function tensorNumbers(tensor: TensorProto): number[] {
  return Array.from(tensorData(tensor) as ArrayLike<number | bigint>, Number);
}

/** The elements of a float32 tensor. @throws QtoolError for another type. */
export function floatData(tensor: TensorProto): Float32Array {
  const data = tensorData(tensor);
  if (data instanceof Float32Array) return data;
  throw new QtoolError('model', `tensor is ${typeOf(tensor)} where float32 is needed`, { at: tensor.name });
}

/**
 * A tensor to store, held in raw_data. `data` has one element an entry; 4- and 2-bit types are packed low bits first.
 * @throws QtoolError where length and shape differ.
 */
export function makeTensor(name: string, type: DType, dims: readonly number[], data: TypedArray): TensorProto {
  if (data.length !== elementCount(dims))
    throw new QtoolError('graph', `${data.length} elements do not fill the shape [${dims.join(', ')}]`, { at: name });
  const { bits } = dtypes[type];
  // Elements of another size would be read as other numbers.
  if (bits >= 8 && 8 * data.BYTES_PER_ELEMENT !== bits)
    throw new QtoolError('graph', `${data.constructor.name} holds no ${type}`, { at: name });
  const raw =
    bits < 8 ? pack(data as ArrayLike<number>, bits) : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return TensorCodec.create({ name, data_type: dtypes[type].code, dims: dims.map(int64), raw_data: raw });
}

/** The same tensor under another name. */
export function renamed(tensor: TensorProto, name: string): TensorProto {
  return TensorCodec.amend(tensor, { name });
}

function hasRaw(tensor: TensorProto): boolean {
  return Object.hasOwn(tensor, 'raw_data');
}

/** Elements of 8 bits and more. A view of unaligned bytes cannot be typed, so those are copied first. */
function wholeElements(tensor: TensorProto, type: DType): TypedArray {
  const facts = dtypes[type];
  const array = facts.array!;
  if (hasRaw(tensor)) {
    const raw = bytesOf(tensor.raw_data);
    const width = array.BYTES_PER_ELEMENT;
    const bytes = raw.byteOffset % width === 0 ? raw : Uint8Array.prototype.slice.call(raw);
    return new array(bytes.buffer as ArrayBuffer, bytes.byteOffset, Math.floor(raw.byteLength / width));
  }
  if (type === 'float32') return Float32Array.from(tensor.float_data);
  if (type === 'float64') return Float64Array.from(tensor.double_data);
  if (type === 'int64') return BigInt64Array.from(tensor.int64_data, toBigInt);
  if (type === 'uint64') return BigUint64Array.from(tensor.uint64_data, (v) => BigInt.asUintN(64, toBigInt(v)));
  if (type === 'uint32') return Uint32Array.from(tensor.uint64_data, toNumber);
  const result = new array(tensor.int32_data.length);
  tensor.int32_data.forEach((v, i) => ((result as Int32Array)[i] = v));
  return result;
}

/** The packed bytes of a sub-byte tensor; int32_data holds one packed byte an entry there. */
function lowBytes(tensor: TensorProto, type: DType): Uint8Array {
  if (hasRaw(tensor)) return bytesOf(tensor.raw_data);
  const bytes = Uint8Array.from(tensor.int32_data);
  return bytes.subarray(0, storedBytes(type, elementCount(dimsOf(tensor))));
}

function unpack(bytes: Uint8Array, count: number, bits: number, signed: boolean): TypedArray {
  const perByte = 8 / bits;
  const mask = (1 << bits) - 1;
  const sign = 1 << (bits - 1);
  const result = new (signed ? Int8Array : Uint8Array)(Math.min(count, bytes.length * perByte));
  for (let i = 0; i < result.length; i++) {
    const code = (bytes[(i / perByte) | 0]! >> ((i % perByte) * bits)) & mask;
    result[i] = signed ? (code ^ sign) - sign : code;
  }
  return result;
}
