import { existsSync, readFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { labelError, noColumn, onlyInput, unknownClass } from './check.ts';
import type { SourceConfigOf } from './config.ts';
import { dataError, messageOf } from './errors.ts';
import { imageSource, type ImageEntry } from './image_source.ts';
import type { IndexedSource, Opening } from './source.ts';
import { openTree, type Tree } from './tree.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Takes one line of a list; `at` is `file:line`. */
type Take = (fields: Fields, at: string) => ImageEntry;

/**
 * Images listed in a CSV, TSV or JSON-lines file with their labels: class indexes, or names of the list `classes`.
 * @throws QtoolError `data` at the line of the list for a missing file, an empty cell or a label that is none.
 */
export async function openManifest(config: SourceConfigOf<'manifest'>, opening: Opening): Promise<IndexedSource> {
  const path = opening.find(config.path, 'path');
  const folder = config.images === undefined ? dirname(path) : opening.find(config.images, 'images');
  let list: List | undefined;
  const entries = await readList(path, (fields, at): ImageEntry => {
    list ??= openList(fields, path, folder, config, opening);
    const { tree, fileColumn, labelColumn } = list;
    const file = fields[fileColumn];
    if (typeof file !== 'string' || file === '') throw dataError(`has no ${fileColumn}`, at);
    if (!tree.has(file)) throw dataError(`"${file}" is not in ${tree.name}`, at, 'File names start from the folder of the list, or from `images`.'); // prettier-ignore
    if (labelColumn === undefined) return { file };
    return { file, label: labelOf(fields[labelColumn], config.classes, opening.classes, at) };
  });
  if (list === undefined) throw dataError('lists no images', path);
  const input = onlyInput(opening.inputs, config.input, opening.at('input'));
  const facts = { kind: 'manifest', source: config.path, labelled: list.labelColumn !== undefined, notes: [] } as const;
  return imageSource(facts, list.tree, entries, input, opening);
}

interface List {
  readonly tree: Tree;
  readonly fileColumn: string;
  readonly labelColumn: string | undefined;
}

/** What the first line of a list tells about all. */
function openList(
  first: Fields,
  path: string,
  folder: string,
  config: SourceConfigOf<'manifest'>,
  opening: Opening,
): List {
  const columns = Object.keys(first);
  const fileColumn = column(config.file_column ?? 'file', columns, opening.at('file_column') ?? path);
  const labelled = config.label_column !== undefined || columns.includes('label');
  const labelColumn = labelled
    ? column(config.label_column ?? 'label', columns, opening.at('label_column') ?? path)
    : undefined;
  return { tree: openTree(archiveFor(folder, first[fileColumn]) ?? folder), fileColumn, labelColumn };
}

/** The archive of the folder that a file name begins with, where it stands unpacked nowhere: images.tar for images/1.jpg. */
function archiveFor(folder: string, file: unknown): string | undefined {
  const top = typeof file === 'string' && file.includes('/') ? file.slice(0, file.indexOf('/')) : '';
  const archive = join(folder, `${top}.tar`);
  return top !== '' && !existsSync(join(folder, top)) && existsSync(archive) ? archive : undefined;
}

function column(name: string, columns: readonly string[], at: string): string {
  if (columns.includes(name)) return name;
  throw noColumn(name, columns, at);
}

function labelOf(
  value: unknown,
  names: readonly string[] | undefined,
  classes: number | undefined,
  at: string,
): number | number[] {
  if (Array.isArray(value)) return value.map((one) => labelOf(one, names, classes, at) as number);
  const text = typeof value === 'number' || typeof value === 'string' ? String(value).trim() : '';
  const label = names ? names.indexOf(text) : /^-?\d+$/.test(text) ? Number(text) : NaN;
  if (names && label < 0) throw unknownClass('label', text, names, at);
  if (Number.isNaN(label)) throw dataError(text === '' ? 'has no label' : `the label "${text}" is not a class index`, at, 'Name the classes in label order: `classes: [...]`.'); // prettier-ignore
  if (label < -1 || (classes !== undefined && label >= classes)) throw labelError(label, classes, at);
  return label;
}

/** What `take` makes of each line of a list. */
async function readList(path: string, take: Take): Promise<ImageEntry[]> {
  if (extname(path) === '.jsonl') return readJsonLines(path, take);
  const delimiter = extname(path) === '.tsv' ? '\t' : ',';
  const bytes = readFileSync(path);
  const [head, ...rows] = plainTable(bytes.toString(), delimiter) ?? (await parseTable(bytes, delimiter, path));
  const columns = head?.cells ?? [];
  return rows.map(({ cells, line }) =>
    take(Object.fromEntries(columns.map((name, i) => [name, cells[i]])), `${path}:${line}`),
  );
}

interface Row {
  readonly cells: readonly string[];
  readonly line: number;
}

/** A table without quotes and with the same number of cells in every line; undefined for every other, which the general parser takes. */
export function plainTable(text: string, delimiter: string): Row[] | undefined {
  if (text.includes('"')) return undefined;
  const rows: Row[] = [];
  for (const [i, line] of text
    .replace(/^\uFEFF/, '')
    .split(/\r\n|\n/)
    .entries()) {
    if (line === '') continue;
    const cells = line.split(delimiter).map((cell) => cell.trim());
    if (line.trim() === '' || line.includes('\r') || cells.length !== (rows[0] ?? { cells }).cells.length)
      return undefined;
    rows.push({ cells, line: i + 1 });
  }
  return rows;
}

/** The same of any CSV. @throws QtoolError `data` at the line that is none. */
export async function parseTable(bytes: Uint8Array, delimiter: string, path: string): Promise<Row[]> {
  const { parse } = await import('csv-parse/sync');
  const rows: Row[] = [];
  try {
    parse(bytes, {
      bom: true,
      skip_empty_lines: true,
      trim: true,
      delimiter,
      on_record: (cells: readonly string[], { lines }: { readonly lines: number }) =>
        void rows.push({ cells, line: lines }),
    });
    return rows;
  } catch (cause) {
    const line = typeof cause === 'object' && cause !== null && 'lines' in cause ? `:${String(cause.lines)}` : '';
    throw dataError(`is not a table: ${messageOf(cause)}`, `${path}${line}`, undefined, cause);
  }
}

function readJsonLines(path: string, take: Take): ImageEntry[] {
  const entries: ImageEntry[] = [];
  for (const [i, text] of readFileSync(path, 'utf8').split('\n').entries()) {
    if (text.trim() === '') continue;
    const at = `${path}:${i + 1}`;
    let fields: unknown;
    try {
      fields = JSON.parse(text);
    } catch (cause) {
      throw dataError(`is not JSON: ${messageOf(cause)}`, at, 'A .jsonl file has one JSON object a line.', cause);
    }
    if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) throw dataError('is not a JSON object', at); // prettier-ignore
    entries.push(take(fields as Fields, at));
  }
  return entries;
}
