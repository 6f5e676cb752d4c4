import { statSync } from 'node:fs';
import { dtypes, type DType } from '../graph/dtype.ts';
import { elementCount } from '../graph/tensor.ts';
import { dataError } from './errors.ts';
import { readPart } from './files.ts';
import { fileRows, memoryRows, type RowLayout } from './rows.ts';
import type { Rows } from './source.ts';
import { readEntry, zipEntries, type ZipEntry } from './zip.ts';

/** What NumPy calls kinds of numbers; their bytes follow: `f4`. */
const kinds: Readonly<Record<string, string>> = { f: 'float', u: 'uint', i: 'int' };

function typeOf(descr: string): DType | undefined {
  if (descr === 'b1') return 'bool';
  const name = `${kinds[descr[0]!]}${8 * Number(descr.slice(1))}`;
  return name in dtypes ? (name as DType) : undefined;
}

/** What a .npy header says; `offset` is where the elements begin. */
interface NpyHeader extends Omit<RowLayout, 'name'> {
  readonly fortran: boolean;
}

/**
 * Reads the header of a .npy file: magic, version, length, then a Python dictionary of descr, fortran_order and shape.
 * Source: NumPy Enhancement Proposal 1.
 * @throws QtoolError `data` where it is none, or of an element type that no model takes (objects, text, dates, records).
 */
function parseNpyHeader(bytes: Uint8Array, name: string): NpyHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic =
    bytes.length > 12 && bytes[0] === 0x93 && Buffer.from(bytes.subarray(1, 6)).toString('latin1') === 'NUMPY';
  if (!magic) throw dataError('is not a .npy array', name);
  const short = bytes[6] === 1;
  const start = short ? 10 : 12;
  const length = short ? view.getUint16(8, true) : view.getUint32(8, true);
  const text = Buffer.from(bytes.subarray(start, start + length)).toString('latin1');
  const descr = /'descr'\s*:\s*'([<>|=])([a-zA-Z]\d+)'/.exec(text);
  const fortran = /'fortran_order'\s*:\s*(True|False)/.exec(text);
  const shape = /'shape'\s*:\s*\(([\d\s,L]*)\)/.exec(text);
  const type = descr === null ? undefined : typeOf(descr[2]!);
  if (text.length < length || fortran === null || shape === null)
    throw dataError('has a .npy header that cannot be read', name);
  if (type === undefined)
    throw dataError(`holds elements ${/'descr'\s*:\s*([^,}]*)/.exec(text)?.[1] ?? 'of unknown type'}, which no model input takes`, name, 'Save it as a plain numeric array.'); // prettier-ignore
  const dims = shape[1]!.split(',').map((part) => part.replace('L', '').trim()).filter((part) => part !== '').map(Number); // prettier-ignore
  return { type, dims, bigEndian: descr![1] === '>', offset: start + length, fortran: fortran[1] === 'True' };
}

const headerBytes = 65536;

/** Opens a .npy file; rows are read when asked. @throws QtoolError `data`. */
export function npyRows(file: string): Rows {
  const header = parseNpyHeader(readPart(file, 0, headerBytes), file);
  checkLength(header, statSync(file).size, file);
  if (header.fortran && header.dims.length > 1) return transposed(header, readPart(file, 0, statSync(file).size), file);
  return fileRows({ ...header, name: file }, file);
}

/** Compressed arrays are unpacked into memory, up to this many bytes each; uncompressed ones are read from the file. */
const memoryLimit = 1 << 30;

/**
 * Opens the arrays of a .npz archive by name. Arrays saved with `np.savez` are read row by row from the file; those of
 * `np.savez_compressed` are unpacked into memory when asked for.
 * @throws QtoolError `data` where it is no archive of arrays.
 */
export function npzArrays(file: string): ReadonlyMap<string, () => Rows> {
  const entries = zipEntries(file).filter((entry) => entry.name.endsWith('.npy'));
  if (entries.length === 0) throw dataError('holds no arrays (.npy entries)', file);
  return new Map(entries.map((entry) => [entry.name.slice(0, -4), () => npzRows(file, entry)]));
}

function npzRows(file: string, entry: ZipEntry): Rows {
  const name = `${file}:${entry.name.slice(0, -4)}`;
  const stored = entry.method === 0;
  if (!stored && entry.size > memoryLimit)
    throw dataError(`unpacks to ${(entry.size / 2 ** 30).toFixed(1)} GiB`, name, 'Save it with np.savez (not compressed): it is then read row by row.'); // prettier-ignore
  const bytes = stored ? readPart(file, entry.offset, Math.min(headerBytes, entry.size)) : readEntry(file, entry);
  const header = parseNpyHeader(bytes, name);
  checkLength(header, entry.size, name);
  if (header.fortran && header.dims.length > 1)
    return transposed(header, stored ? readEntry(file, entry) : bytes, name);
  if (!stored) return memoryRows({ ...header, name }, bytes);
  return fileRows({ ...header, name, offset: entry.offset + header.offset }, file);
}

function checkLength(header: NpyHeader, have: number, name: string): void {
  const want = header.offset + (elementCount(header.dims) * dtypes[header.type].bits) / 8;
  if (have !== want) throw dataError(`has ${have} bytes where its header asks for ${want}`, name, 'The file is cut off or damaged.'); // prettier-ignore
}

/** A column-major array in row-major order. */
function transposed(header: NpyHeader, bytes: Uint8Array, name: string): Rows {
  const { dims, type, offset, bigEndian } = header;
  const width = dtypes[type].bits / 8;
  const out = new Uint8Array(elementCount(dims) * width);
  const strides = dims.map((_, axis) => elementCount(dims.slice(0, axis)) * width);
  const index = dims.map(() => 0);
  for (let o = 0; o < out.length; o += width) {
    let at = offset;
    for (let axis = 0; axis < dims.length; axis++) at += index[axis]! * strides[axis]!;
    for (let b = 0; b < width; b++) out[o + b] = bytes[at + b]!;
    for (let axis = dims.length - 1; axis >= 0 && ++index[axis]! === dims[axis]; axis--) index[axis] = 0;
  }
  return memoryRows({ name, type, dims, bigEndian, offset: 0 }, out);
}
