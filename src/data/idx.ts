import { gunzipSync } from 'node:zlib';
import { readFileSync, statSync } from 'node:fs';
import { dtypes, type DType } from '../graph/dtype.ts';
import { elementCount } from '../graph/tensor.ts';
import { arraySource } from './arrays.ts';
import { onlyInput } from './check.ts';
import type { SourceConfigOf } from './config.ts';
import { dataError, messageOf } from './errors.ts';
import { readPart } from './files.ts';
import { fileRows, memoryRows } from './rows.ts';
import type { IndexedSource, Opening, Rows } from './source.ts';

/** Element type byte of an IDX file. Source: the format note at the end of the MNIST database page (LeCun, Cortes, Burges). */
const types: Readonly<Record<number, DType>> = {
  0x08: 'uint8',
  0x09: 'int8',
  0x0b: 'int16',
  0x0c: 'int32',
  0x0d: 'float32',
  0x0e: 'float64',
};

/**
 * Opens an IDX file: 0, 0, element type, rank, then big-endian 32-bit sizes and the elements. Plain files are read row by row;
 * a `.gz` one is unpacked into memory.
 * @throws QtoolError `data` where it is no IDX file or does not have the length its header says.
 */
export function idxRows(file: string): Rows {
  const packed = file.endsWith('.gz');
  let bytes: Uint8Array | undefined;
  try {
    bytes = packed ? gunzipSync(readFileSync(file)) : undefined;
  } catch (cause) {
    throw dataError(`does not unpack: ${messageOf(cause)}`, file, undefined, cause);
  }
  const head = bytes ?? readPart(file, 0, 4 + 4 * 255);
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const type = head.length >= 4 && head[0] === 0 && head[1] === 0 ? types[head[2]!] : undefined;
  const rank = head[3] ?? 0;
  if (type === undefined || rank === 0 || head.length < 4 + 4 * rank)
    throw dataError('is not an IDX file', file, 'An IDX file begins with two zero bytes, an element type and a rank.');
  const dims = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i));
  const offset = 4 + 4 * rank;
  const want = offset + (elementCount(dims) * dtypes[type].bits) / 8;
  const have = bytes?.length ?? statSync(file).size;
  if (have !== want) throw dataError(`has ${have} bytes where its header asks for ${want}`, file, 'The file is cut off or damaged.'); // prettier-ignore
  const layout = { name: file, type, dims, bigEndian: true, offset };
  return bytes ? memoryRows(layout, bytes) : fileRows(layout, file);
}

/** Samples of an IDX file, with labels from another. */
export function openIdx(config: SourceConfigOf<'idx'>, opening: Opening): IndexedSource {
  const rows = idxRows(opening.find(config.path, 'path'));
  const labels = config.labels === undefined ? undefined : idxRows(opening.find(config.labels, 'labels'));
  const input = onlyInput(opening.inputs, config.input, opening.at('input'));
  return arraySource('idx', config.path, [{ input, rows, transforms: opening.transforms }], labels, opening);
}
