import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { SchemaElement } from 'hyparquet';
import type { DType, TypedArray } from '../graph/dtype.ts';
import type { ModelInput } from '../graph/query.ts';
import { rowTransform, type RowTransform } from './arrays.ts';
import { inputNamed, labelError, noColumn, onlyInput } from './check.ts';
import type { SourceConfigOf } from './config.ts';
import { dataError, messageOf } from './errors.ts';
import { fedWhole } from './layout.ts';
import { readPart } from './files.ts';
import { decodeImage } from './image.ts';
import type { ImageChange } from './image_change.ts';
import { blocksTogether } from './order.ts';
import type { IndexedSource, Opening, Reader } from './source.ts';
import { compileTransforms, reshapeFor, type ImageTransform, type Transforms } from './transforms.ts';
import { byCodePoint } from './tree.ts';
import type { Tensor } from './types.ts';

type Row = Readonly<Record<string, unknown>>;

/** Rows that are read together: one row group of one file. */
interface Group {
  readonly file: string;
  readonly first: number;
  readonly rows: number;
  /** Row number in its file. */
  readonly start: number;
}

/**
 * Rows of Parquet files. A column of bytes (or of { bytes, path }, as Hugging Face writes images) is decoded as an image; numbers
 * and lists of numbers feed an input as they are. One or two row groups are in memory at a time, and so samples come in the
 * order of the file, or block by block where they are to come in another.
 */
export async function openParquet(config: SourceConfigOf<'parquet'>, opening: Opening): Promise<IndexedSource> {
  const path = opening.find(config.path, 'path');
  const files = statSync(path).isDirectory()
    ? readdirSync(path).filter((name) => name.endsWith('.parquet')).sort(byCodePoint).map((name) => join(path, name)) // prettier-ignore
    : [path];
  if (files.length === 0) throw dataError('holds no .parquet files', path);
  const groups: Group[] = [];
  let columns: readonly string[] = [];
  let encoded: readonly string[] = [];
  let length = 0;
  for (const file of files) {
    const { names, bytes, rows } = await layoutOf(file);
    columns = names;
    encoded = bytes;
    let start = 0;
    for (const count of rows) {
      groups.push({ file, first: length, rows: count, start });
      length += count;
      start += count;
    }
  }
  const feeds = columnsFor(config, opening, columns);
  const labels = config.labels ?? (columns.includes('label') && !feeds.some(({ column }) => column === 'label') ? 'label' : undefined); // prettier-ignore
  if (labels !== undefined && !columns.includes(labels)) throw noColumn(labels, columns, opening.at('labels'));
  const wanted = [...new Set([...feeds.map(({ column }) => column), ...(labels === undefined ? [] : [labels])])];
  const joins = !fedWhole(opening.inputs);
  const makers = feeds.map(({ column, input, transforms }) => ({ column, name: input.name, make: cellTransform(input, transforms, joins) })); // prettier-ignore
  return {
    access: 'index',
    kind: 'parquet',
    source: config.path,
    length,
    labelled: labels !== undefined,
    notes: [],
    pixels: feeds.some(({ column }) => encoded.includes(column)),
    blocks: groups.map(({ first }) => first),
    identity: (index) => `${path}#${index}`,
    files: (index) => [groupOf(groups, index).file],
    async open(): Promise<Reader> {
      const held = new Map<Group, Promise<Row[]>>();
      return {
        async read(index, _over, change) {
          const group = groupOf(groups, index);
          let rows = held.get(group);
          if (rows === undefined) {
            if (held.size >= blocksTogether) held.delete(held.keys().next().value!);
            held.set(group, (rows = readGroup(group, wanted)));
          }
          const row = (await rows)[index - group.first]!;
          const id = `${group.file}, row ${group.start + index - group.first}`;
          const made: Record<string, Tensor> = {};
          for (const { column, name, make } of makers)
            made[name] = await make(row[column], `${id}, column ${column}`, change);
          if (labels === undefined) return { id, feeds: made };
          return { id, feeds: made, target: { label: labelsOf(row[labels], opening.classes, id) } };
        },
        close: () => held.clear(),
      };
    },
  };
}

function groupOf(groups: readonly Group[], index: number): Group {
  let [low, high] = [0, groups.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (groups[middle]!.first <= index) low = middle;
    else high = middle - 1;
  }
  return groups[low]!;
}

const bufferOf = (file: string): { byteLength: number; slice(start: number, end?: number): ArrayBuffer } => {
  const byteLength = statSync(file).size;
  return {
    byteLength,
    slice: (start, end = byteLength) => readPart(file, start, end - start).slice().buffer,
  };
};

/** Its columns, which of them hold bytes (or bytes with a path), and the rows of its row groups. */
async function layoutOf(
  file: string,
): Promise<{ readonly names: string[]; readonly bytes: string[]; readonly rows: number[] }> {
  const { parquetMetadataAsync, parquetSchema } = await import('hyparquet');
  try {
    const metadata = await parquetMetadataAsync(bufferOf(file));
    const { children } = parquetSchema(metadata);
    const names = children.map(({ element }) => element.name);
    const isBytes = ({ type, converted_type, logical_type }: SchemaElement): boolean =>
      type === 'BYTE_ARRAY' && converted_type === undefined && logical_type === undefined;
    const bytes = children
      .filter(({ element, children: parts }) => [element, ...parts.map((part) => part.element)].some(isBytes))
      .map(({ element }) => element.name);
    return { names, bytes, rows: metadata.row_groups.map((group) => Number(group.num_rows)) };
  } catch (cause) {
    throw dataError(`is not a Parquet file: ${messageOf(cause)}`, file, undefined, cause);
  }
}

async function readGroup({ file, start, rows }: Group, columns: string[]): Promise<Row[]> {
  const [{ parquetReadObjects }, { compressors }] = await Promise.all([import('hyparquet'), import('hyparquet-compressors')]); // prettier-ignore
  try {
    return await parquetReadObjects({
      file: bufferOf(file),
      columns,
      rowStart: start,
      rowEnd: start + rows,
      compressors,
      utf8: false,
    });
  } catch (cause) {
    const at = `${file}, rows ${start} to ${start + rows - 1}`;
    throw dataError(`cannot be read: ${messageOf(cause)}`, at, undefined, cause);
  }
}

interface ColumnInput {
  readonly column: string;
  readonly input: ModelInput;
  readonly transforms: Transforms;
}

function columnsFor(
  config: SourceConfigOf<'parquet'>,
  { inputs, transforms, at }: Opening,
  columns: readonly string[],
): ColumnInput[] {
  if (config.inputs)
    return Object.entries(config.inputs).map(([name, given]) => {
      const [column, own] = typeof given === 'string' ? [given, {}] : [given.array, given.transforms ?? {}];
      const input = inputNamed(inputs, name, at('inputs', name));
      if (!columns.includes(column)) throw noColumn(column, columns, at('inputs', name));
      return { column, input, transforms: { ...transforms, ...own } };
    });
  const named = inputs.filter(({ name }) => columns.includes(name));
  if (named.length === inputs.length) return named.map((input) => ({ column: input.name, input, transforms }));
  const input = onlyInput(inputs, config.input, at('input'));
  const column = ['image', 'img', 'pixels', 'bytes'].find((name) => columns.includes(name));
  if (column === undefined) throw dataError(`no column is called like the model input "${input.name}", or image; there are ${columns.join(', ')}`, at('path'), 'Map them: inputs: { <model input>: <column> }.'); // prettier-ignore
  return [{ column, input, transforms }];
}

/** Turns a cell into the tensor of an input: encoded images through the image transforms, numbers through the array ones. */
function cellTransform(
  input: ModelInput,
  transforms: Transforms,
  joins: boolean,
): (cell: unknown, id: string, change?: ImageChange) => Promise<Tensor> {
  let image: ImageTransform | undefined;
  const arrays = new Map<string, RowTransform>();
  return async (cell, id, change) => {
    const bytes = cell instanceof Uint8Array ? cell : (cell as { readonly bytes?: unknown } | null)?.bytes;
    if (bytes instanceof Uint8Array) {
      image ??= compileTransforms(transforms, input);
      return reshapeFor(image(await decodeImage(bytes, id), id, undefined, change), input.dims, joins);
    }
    const { type, dims, data } = numbersOf(cell, id);
    const key = `${type}:${dims.join()}`;
    let apply = arrays.get(key);
    if (apply === undefined) arrays.set(key, (apply = rowTransform(transforms, type, dims, input, joins)));
    return apply(data, id, change);
  };
}

function numbersOf(
  cell: unknown,
  id: string,
): { readonly type: DType; readonly dims: number[]; readonly data: TypedArray } {
  const dims: number[] = [];
  for (let part = cell; Array.isArray(part); part = (part as unknown[])[0]) dims.push(part.length);
  const flat: readonly unknown[] = Array.isArray(cell) ? (cell.flat(Infinity) as unknown[]) : [cell];
  if (flat.length !== dims.reduce((a, b) => a * b, 1)) throw dataError('holds lists of different lengths', id);
  if (flat.every((value) => typeof value === 'bigint')) return { type: 'int64', dims, data: BigInt64Array.from(flat) };
  if (flat.every((value) => typeof value === 'number')) return { type: 'float64', dims, data: Float64Array.from(flat) };
  throw dataError('holds neither image bytes nor numbers', id);
}

function labelsOf(cell: unknown, classes: number | undefined, id: string): Int32Array {
  const list: readonly unknown[] = Array.isArray(cell) ? cell : [cell];
  return Int32Array.from(list, (value) => {
    const label = typeof value === 'number' || typeof value === 'bigint' ? Number(value) : NaN;
    if (!Number.isInteger(label)) throw dataError('has no class index as its label', id);
    if (label < -1 || (classes !== undefined && label >= classes)) throw labelError(label, classes, id);
    return label;
  });
}
