import { closeSync, openSync } from 'node:fs';
import { endianness } from 'node:os';
import { dtypes, type DType, type TypedArray } from '../graph/dtype.ts';
import { elementCount } from '../graph/tensor.ts';
import { dataError } from './errors.ts';
import { fill } from './files.ts';
import type { RowReader, Rows } from './source.ts';

/** How the elements of an array lie in a file or buffer. */
export interface RowLayout {
  readonly name: string;
  readonly type: DType;
  readonly dims: readonly number[];
  readonly bigEndian: boolean;
  /** Bytes before the first element. */
  readonly offset: number;
}

/** Rows read from an uncompressed file when asked: nothing is held but one row. */
export function fileRows(layout: RowLayout, file: string): Rows {
  return rows(layout, () => {
    const handle = openSync(file, 'r');
    return {
      read(target, position) {
        if (fill(handle, target, layout.offset + position) < target.length)
          throw dataError('the file ends before its last sample', layout.name);
      },
      close: () => closeSync(handle),
    };
  });
}

/** Rows of an array that is in memory. */
export function memoryRows(layout: RowLayout, bytes: Uint8Array): Rows {
  return rows(layout, () => ({
    read: (target, position) =>
      target.set(bytes.subarray(layout.offset + position, layout.offset + position + target.length)),
    close: () => undefined,
  }));
}

interface Bytes {
  read(target: Uint8Array, position: number): void;
  close(): void;
}

const hostBigEndian = endianness() === 'BE';

function rows({ name, type, dims, bigEndian }: RowLayout, open: () => Bytes): Rows {
  const { array, bits } = dtypes[type];
  if (array === undefined || bits < 8) throw dataError(`elements of type ${type} cannot be read`, name);
  const width = array.BYTES_PER_ELEMENT;
  const length = elementCount(dims.slice(1));
  return {
    name,
    type,
    dims,
    open(): RowReader {
      const bytes = open();
      const row = new array(length);
      const view = new Uint8Array(row.buffer, 0, length * width);
      return {
        row(index): TypedArray {
          bytes.read(view, index * length * width);
          if (bigEndian !== hostBigEndian) swap(view, width);
          return row;
        },
        close: () => bytes.close(),
      };
    },
  };
}

function swap(bytes: Uint8Array, width: number): void {
  for (let i = 0; width > 1 && i < bytes.length; i += width) bytes.subarray(i, i + width).reverse();
}

/** The same array as rows along another axis than the first: it is held in memory while it is read. */
export function rowsAlong(rows: Rows, axis: number): Rows {
  const { dims } = rows;
  const [outer, length, inner] = [elementCount(dims.slice(0, axis)), dims[axis]!, elementCount(dims.slice(axis + 1))];
  return {
    ...rows,
    dims: [length, ...dims.slice(0, axis), ...dims.slice(axis + 1)],
    open() {
      const whole = allOf(rows) as Float32Array;
      const row = new (whole.constructor as new (length: number) => Float32Array)(outer * inner);
      return {
        row(index) {
          for (let o = 0; o < outer; o++) {
            const from = (o * length + index) * inner;
            row.set(whole.subarray(from, from + inner), o * inner);
          }
          return row;
        },
        close: () => undefined,
      };
    },
  };
}

/** `length` rows that are each the whole array. */
export function sameRow(rows: Rows, length: number): Rows {
  return {
    ...rows,
    dims: [length, ...rows.dims],
    open() {
      const whole = allOf(rows);
      return { row: () => whole, close: () => undefined };
    },
  };
}

function allOf(rows: Rows): TypedArray {
  const reader = rows.open();
  try {
    const parts = Array.from({ length: rows.dims[0] ?? 1 }, (_, i) => reader.row(i).slice() as Float32Array);
    const width = elementCount(rows.dims.slice(1));
    const whole = new (dtypes[rows.type].array as new (length: number) => Float32Array)(parts.length * width);
    parts.forEach((part, i) => whole.set(part, i * width));
    return whole;
  } finally {
    reader.close();
  }
}

/** All rows of a small array (labels) as 32-bit integers. @throws QtoolError for anything but whole numbers. */
export function readLabels(rows: Rows): { readonly values: Int32Array; readonly positions: number } {
  const count = rows.dims[0] ?? 0;
  const positions = elementCount(rows.dims.slice(1));
  const values = new Int32Array(count * positions);
  const reader = rows.open();
  try {
    for (let i = 0; i < count; i++) {
      const row = reader.row(i);
      for (let j = 0; j < positions; j++) {
        const value = Number(row[j]);
        if (!Number.isInteger(value) || Math.abs(value) > 0x7fffffff)
          throw dataError(`label ${value} of sample ${i} is not a class index`, rows.name);
        values[i * positions + j] = value;
      }
    }
  } finally {
    reader.close();
  }
  return { values, positions };
}
