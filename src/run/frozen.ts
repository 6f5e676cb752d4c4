import { createHash } from 'node:crypto';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { decodeModel, encodeModel, type Model } from '../graph/model.ts';
import { given, must } from '../util/must.ts';

/**
 * Values as a file and back, to the last bit: plain data with maps, typed arrays and models in it. A line that says what it is and the
 * SHA-256 of the rest; JSON, in which what JSON has no word for stands as `{ $: kind, … }`; then the bytes of arrays and models.
 */

const magic = 'qtool checkpoint 1 ';
/** Of the first line: magic, SHA-256, bytes of the JSON, line break. */
const firstLine = magic.length + 64 + 1 + 15 + 1;
/** Bytes of one read or write: more at once Node does not take everywhere. */
const most = 2 ** 28;

const arrays = { Float32Array, Float64Array, Int8Array, Uint8Array, Int16Array, Uint16Array, Int32Array, Uint32Array, BigInt64Array, BigUint64Array }; // prettier-ignore

type Json = unknown;

interface Head {
  readonly value: Json;
  /** Bytes of each blob, in their order. */
  readonly blobs: readonly number[];
}

/** The value as JSON; what is large goes to `blobs`, each array once. @throws Error for functions and whatever else is no data. */
function plain(value: unknown, blobs: Map<object, Uint8Array>): Json {
  const blob = (of: object, bytes: () => Uint8Array): number => {
    if (!blobs.has(of)) blobs.set(of, bytes());
    return [...blobs.keys()].indexOf(of);
  };
  const go = (one: unknown): Json => {
    if (typeof one === 'number') return Number.isFinite(one) && !Object.is(one, -0) ? one : { $: 'number', is: Object.is(one, -0) ? '-0' : String(one) }; // prettier-ignore
    if (typeof one === 'bigint') return { $: 'bigint', is: String(one) };
    if (one === undefined) return { $: 'undefined' };
    if (one === null || typeof one === 'string' || typeof one === 'boolean') return one;
    if (Array.isArray(one)) return one.map(go);
    if (one instanceof Map) return { $: 'map', entries: [...(one as Map<unknown, unknown>)].map(([k, v]) => [go(k), go(v)]) }; // prettier-ignore
    if (one instanceof Set) return { $: 'set', entries: [...(one as Set<unknown>)].map(go) };
    if (ArrayBuffer.isView(one)) {
      const kind = one.constructor.name;
      if (!(kind in arrays)) throw new Error(`a ${kind} cannot be kept`);
      return { $: 'array', kind, blob: blob(one, () => new Uint8Array(one.buffer, one.byteOffset, one.byteLength)) };
    }
    if (typeof one === 'object' && 'proto' in one && 'graph' in one) {
      const model = one as Model;
      return { $: 'model', path: go(model.path), blob: blob(model, () => encodeModel(model)) };
    }
    if (typeof one === 'object' && [Object.prototype, null].includes(Object.getPrototypeOf(one) as object | null))
      return { $: 'object', of: Object.fromEntries(Object.entries(one).map(([key, held]) => [key, go(held)])) };
    throw new Error(`a ${typeof one} cannot be kept`);
  };
  return go(value);
}

/** The value that JSON and blobs stand for. */
function thawed(value: Json, blobs: readonly Uint8Array<ArrayBuffer>[]): unknown {
  const go = (one: Json): unknown => {
    if (Array.isArray(one)) return one.map(go);
    if (one === null || typeof one !== 'object') return one;
    const held = one as { readonly $: string } & Readonly<Record<string, Json>>;
    const bytes = (): Uint8Array<ArrayBuffer> => given(blobs[Number(held['blob'])], 'the bytes');
    const list = (): unknown[] => (held['entries'] as Json[]).map(go);
    switch (held.$) {
      case 'number':
        return Number(held['is']);
      case 'bigint':
        return BigInt(held['is'] as string);
      case 'map':
        return new Map(list() as [unknown, unknown][]);
      case 'set':
        return new Set(list());
      case 'array': {
        const make = must(new Map(Object.entries(arrays)), String(held['kind']), 'the kind of an array');
        return new make(bytes().buffer);
      }
      case 'model':
        return decodeModel(bytes(), go(held['path']) as string | undefined);
      case 'object':
        return Object.fromEntries(Object.entries(held['of'] as object).map(([key, inner]) => [key, go(inner as Json)]));
      default:
        return undefined;
    }
  };
  return go(value);
}

/**
 * Writes a value in one step: whenever the process ends or power fails, the file is the old one or the new one, whole.
 * @throws Error where the value holds what is no data, or it cannot be written.
 */
export async function writeFrozen(path: string, value: unknown): Promise<void> {
  const held = new Map<object, Uint8Array>();
  const json = plain(value, held);
  const blobs = [...held.values()];
  const head = Buffer.from(JSON.stringify({ value: json, blobs: blobs.map(({ length }) => length) } satisfies Head));
  const hash = createHash('sha256');
  for (const part of [head, ...blobs]) for (const piece of pieces(part)) hash.update(piece);
  const line = `${magic}${hash.digest('hex')} ${String(head.length).padStart(15)}\n`;
  const part = `${path}.part`;
  try {
    const file = await open(part, 'w');
    try {
      for (const bytes of [Buffer.from(line), head, ...blobs])
        for (const piece of pieces(bytes)) await file.writeFile(piece);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(part, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

/** The new name must outlast a power failure too; where a system does not open folders, it sees to that itself. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

function* pieces(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += most) yield bytes.subarray(at, at + most);
}

/** The value in a file; undefined where there is no such file. @throws Error saying what is wrong with it. */
export async function readFrozen(path: string): Promise<unknown> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (!file) return undefined;
  try {
    const line = Buffer.from(await take(file, firstLine)).toString('latin1');
    if (!line.startsWith(magic)) throw new Error('it is of another form');
    const hash = createHash('sha256');
    const next = async (bytes: number): Promise<Uint8Array<ArrayBuffer>> => {
      const read = await take(file, bytes);
      for (const piece of pieces(read)) hash.update(piece);
      return read;
    };
    const [sum, length] = line.slice(magic.length).trim().split(/ +/);
    const text = Buffer.from(await next(Number(length))).toString();
    const sizes =
      /"blobs":\[([\d,]*)\]\}$/
        .exec(text)?.[1]
        ?.split(',')
        .filter((size) => size !== '') ?? [];
    const blobs: Uint8Array<ArrayBuffer>[] = [];
    for (const size of sizes) blobs.push(await next(Number(size)));
    if (hash.digest('hex') !== sum) throw new Error('its checksum is wrong');
    return thawed((JSON.parse(text) as Head).value, blobs);
  } finally {
    await file.close();
  }
}

/** The next bytes of a file, in a buffer of their own. */
async function take(file: FileHandle, bytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const { size } = await file.stat();
  if (!Number.isSafeInteger(bytes) || bytes < 0 || bytes > size) throw new Error('it is cut off');
  const into = new Uint8Array(bytes);
  for (let done = 0; done < bytes;) {
    const { bytesRead } = await file.read(into, done, Math.min(most, bytes - done));
    if (bytesRead === 0) throw new Error('it is cut off');
    done += bytesRead;
  }
  return into;
}
