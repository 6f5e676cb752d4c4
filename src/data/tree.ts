import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync, realpathSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { dataError } from './errors.ts';

/** Files below a folder, by path with forward slashes. */
export interface Tree {
  readonly name: string;
  /** All files, in alphabetical order. */
  files(): readonly string[];
  has(file: string): boolean;
  /** The file on disk that holds it: itself, or the archive. */
  holder(file: string): string;
  /** Opens the tree for reading; `identity` names a file wherever it is listed. */
  open(): TreeReader;
  identity(file: string): string;
}

/** Reads at once, not by promises: for the small files of datasets those cost more than the reading. */
export interface TreeReader {
  read(file: string): Uint8Array;
  close(): void;
}

/**
 * Opens a folder or a .tar archive; hidden files are left out. `dropTop`: leaves the one folder that holds all of an archive
 * out of the names, so that the archive of a folder reads as the folder.
 */
export function openTree(path: string, dropTop = false): Tree {
  if (statSync(path).isDirectory()) return folderTree(path);
  if (path.endsWith('.tar')) return tarTree(path, dropTop);
  throw dataError('is neither a folder nor a .tar archive', path);
}

function folderTree(path: string): Tree {
  return {
    name: path,
    files: () => filesBelow(path, '', []).sort(byCodePoint),
    has: (file) => existsSync(resolve(path, file)),
    holder: (file) => resolve(path, file),
    identity: (file) => resolve(path, file),
    open: () => ({ read: (file) => readFileSync(resolve(path, file)), close: () => undefined }),
  };
}

/** Files below a folder, by way of links too, but never into a folder that the way leads through already. */
function filesBelow(root: string, below: string, through: readonly string[]): string[] {
  const folder = join(root, below);
  const real = realpathSync(folder);
  if (through.includes(real)) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const name = below === '' ? entry.name : `${below}/${entry.name}`;
    if (hidden(entry.name)) return [];
    const linked = entry.isSymbolicLink();
    const isFolder = linked
      ? statSync(join(root, name), { throwIfNoEntry: false })?.isDirectory() === true
      : entry.isDirectory();
    if (isFolder) return filesBelow(root, name, [...through, real]);
    return linked || entry.isFile() ? [name] : [];
  });
}

const hidden = (file: string): boolean => file.split('/').some((part) => part.startsWith('.'));

/** Order by UTF-16 code unit: for the names that datasets have, the order of Python's `sorted`. */
export const byCodePoint = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/**
 * The files of a .tar archive, read in place. Names longer than 100 characters come as GNU long names or pax headers.
 * Source: POSIX.1-2001 pax interchange format (ustar header blocks of 512 bytes); GNU tar manual, "Basic Tar Format".
 */
function tarTree(path: string, dropTop: boolean): Tree {
  const all = tarEntries(path);
  const places = dropTop ? withoutTop(all) : all;
  return {
    name: path,
    files: () => [...places.keys()].sort(byCodePoint),
    has: (file) => places.has(file),
    holder: () => path,
    identity: (file) => `${path}:${file}`,
    open() {
      const handle = openSync(path, 'r');
      return {
        read(name) {
          const { offset, size } = places.get(name)!;
          const bytes = new Uint8Array(size);
          readSync(handle, bytes, 0, size, offset);
          return bytes;
        },
        close: () => closeSync(handle),
      };
    },
  };
}

function tarEntries(path: string): Map<string, { readonly offset: number; readonly size: number }> {
  const places = new Map<string, { offset: number; size: number }>();
  const head = Buffer.alloc(512);
  const text = (from: number, length: number): string => head.toString('utf8', from, from + length).split('\0')[0]!;
  const handle = openSync(path, 'r');
  const total = statSync(path).size;
  try {
    let longName: string | undefined;
    for (let at = 0; readSync(handle, head, 0, 512, at) === 512 && head[0] !== 0;) {
      let sum = 8 * 32;
      for (let i = 0; i < 512; i++) if (i < 148 || i >= 156) sum += head[i]!;
      if (parseInt(text(148, 8), 8) !== sum) throw dataError('is not a .tar archive, or a damaged one', path);
      const digits = text(124, 12);
      // Above 8 GiB, GNU writes a big-endian number behind the byte 0x80.
      const size = head[124] === 0x80 ? Number(head.readBigUInt64BE(128)) : parseInt(digits.trim() || '0', 8);
      const isSize = head[124] === 0x80 || /^\s*[0-7]*\s*$/.test(digits);
      if (!isSize) throw dataError(`has an entry of the size "${digits}"`, `${path}:${text(0, 100)}`, 'The archive is damaged.'); // prettier-ignore
      if (at + 512 + size > total) throw dataError('the archive is cut off', `${path}:${text(0, 100)}`);
      const type = text(156, 1);
      const offset = at + 512;
      at = offset + Math.ceil(size / 512) * 512;
      if (type === 'L' || type === 'x') {
        const extra = Buffer.alloc(size);
        readSync(handle, extra, 0, size, offset);
        const whole = extra.toString('utf8');
        longName = type === 'L' ? whole.split('\0')[0] : (/(?:^|\n)\d+ path=([^\n]*)\n/.exec(whole)?.[1] ?? longName);
        continue;
      }
      const prefix = text(257, 5) === 'ustar' && head[262] === 0 ? text(345, 155) : '';
      const name = (longName ?? (prefix === '' ? text(0, 100) : `${prefix}/${text(0, 100)}`)).replace(/^(\.\/)+/, '');
      longName = undefined;
      if ((type === '' || type === '0') && !hidden(name)) places.set(name, { offset, size });
    }
  } finally {
    closeSync(handle);
  }
  return places;
}

function withoutTop<T>(places: Map<string, T>): Map<string, T> {
  const tops = new Set([...places.keys()].map((name) => name.slice(0, name.indexOf('/') + 1)));
  const [top] = tops;
  if (tops.size !== 1 || top === undefined || top === '') return places;
  return new Map([...places].map(([name, place]) => [name.slice(top.length), place]));
}
