import { open, readFile, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { zeroCodes } from '../archive/codes.ts';
import { packModel, plainBytes, type PackSource } from '../archive/pack.ts';
import { pathBelow } from '../archive/outside.ts';
import { openArchive } from '../archive/reader.ts';
import { mostAtOnce } from '../graph/bytes.ts';
import { readModelFile } from '../graph/file.ts';
import { decodeModel } from '../graph/model.ts';
import type { PackReport, UnpackReport } from '../report/archive.ts';
import { generalSizes } from '../run/size.ts';
import { QtoolError } from '../util/error.ts';
import { checkFolder, makeFolder } from '../util/folder.ts';
import { abortable, checkCall, type Watch } from './given.ts';

export interface PackOptions extends Watch {
  /** The path of an .onnx file. */
  readonly model: string;
  /** The archive to write. */
  readonly output: string;
  /** Writes over a file that is there. Default false. */
  readonly force?: boolean | undefined;
  /** `false`: not compared with brotli and zstd, which take longer than packing. Default true. */
  readonly compare?: boolean | undefined;
}

/**
 * Packs a model and its external data into one archive, as `qtool pack` does. What is written has been unpacked and compared before.
 * @throws QtoolError; the signal's reason.
 */
export async function pack(options: PackOptions): Promise<PackReport> {
  checkCall('pack', options, ['model', 'output']);
  const { model: path, output, force = false, compare = true, onProgress } = options;
  return abortable(options.signal, async (signal) => {
    const model = await readModelFile(path);
    const zeros = zeroCodes(decodeModel(model, path).graph);
    await mustBeFree(output, force, [path]);
    await checkFolder(dirname(output));
    const handles: FileHandle[] = [];
    const read: string[] = [path];
    try {
      onProgress?.({ kind: 'phase', text: `packing ${path}` });
      const packed = await packModel(model, {
        async open(location) {
          const file = join(dirname(path), pathBelow(location, path));
          const { handle, source } = await openSource(file, path);
          handles.push(handle);
          read.push(file);
          return source;
        },
        zeros,
        onTensor(share, text) {
          signal.throwIfAborted();
          onProgress?.({ kind: 'progress', done: share, text });
        },
      });
      await mustBeFree(output, force, read);
      await makeFolder(dirname(output));
      await writeAside(output, [packed.archive]);
      if (compare) onProgress?.({ kind: 'phase', text: 'compressing the same by brotli and zstd' });
      const general = compare ? await generalSizes(read) : { brotli: undefined, zstd: undefined };
      const sizes = await Promise.all(read.map(async (file) => (await stat(file)).size));
      return {
        format: 1,
        model: path,
        archive: output,
        bytes: sizes.reduce((a, b) => a + b, 0),
        packed: packed.archive.length,
        ...general,
        rest: packed.rest,
        tensors: packed.tensors.map(({ tensor, length, bytes, facts }) => ({
          name: tensor?.name ?? '',
          shape: [...(tensor?.dims ?? [])],
          bytes: length,
          packed: Math.round(bytes),
          ...facts,
        })),
      };
    } finally {
      for (const handle of handles) await handle.close();
    }
  });
}

export interface UnpackOptions extends Watch {
  /** The path of an archive. */
  readonly archive: string;
  /** The model's file to write; external data goes beside it, under the names that the model has for it. */
  readonly output: string;
  /** Writes over files that are there. Default false. */
  readonly force?: boolean | undefined;
}

/**
 * Unpacks an archive, as `qtool unpack` does: the files that were packed, byte for byte.
 * @throws QtoolError for what is no archive, or a damaged one: nothing is written then; the signal's reason.
 */
export async function unpack(options: UnpackOptions): Promise<UnpackReport> {
  checkCall('unpack', options, ['archive', 'output']);
  const { archive, output, force = false, onProgress } = options;
  return abortable(options.signal, async (signal) => {
    const { files } = await opened(archive);
    const paths = files.map(({ path }) =>
      path === undefined ? output : join(dirname(output), pathBelow(path, archive)),
    );
    if (new Set(paths.map((path) => resolve(path))).size < paths.length)
      throw new QtoolError('usage', 'the model would have the name of its own data', { at: output, hint: 'name another file by -o' }); // prettier-ignore
    for (const path of paths) await mustBeFree(path, force, [archive]);
    onProgress?.({ kind: 'phase', text: `unpacking ${archive}` });
    const total = files.reduce((sum, { size }) => sum + size, 0);
    let done = 0;
    const written: string[] = [];
    try {
      for (const [i, { parts }] of files.entries()) {
        await makeFolder(dirname(paths[i]!));
        written.push(`${paths[i]!}.part`);
        await writeFrom(`${paths[i]!}.part`, function* () {
          for (const { owner, length, bytes } of parts) {
            signal.throwIfAborted();
            onProgress?.({ kind: 'progress', done: done / Math.max(1, total), text: owner?.name ?? '' });
            yield bytes();
            done += length;
          }
        });
      }
      // The model comes last: it must not be there without its data.
      for (const path of paths.toReversed()) await rename(`${path}.part`, path);
    } catch (error) {
      for (const path of written) await rm(path, { force: true });
      throw error instanceof QtoolError && error.code === 'model' ? at(archive, error) : error;
    }
    return { format: 1, archive, files: files.map(({ size }, i) => ({ path: paths[i]!, bytes: size })) };
  });
}

async function opened(archive: string): Promise<ReturnType<typeof openArchive>> {
  const bytes = await readFile(archive).catch((cause: NodeJS.ErrnoException) => {
    const message = cause.code === 'ENOENT' ? 'no such file' : cause.code === 'EISDIR' ? 'this is a folder, not an archive' : `cannot be read: ${cause.message}`; // prettier-ignore
    throw new QtoolError('model', message, { at: archive, hint: 'give a file that qtool pack wrote', cause });
  });
  try {
    return openArchive(plainBytes(bytes));
  } catch (error) {
    throw error instanceof QtoolError ? at(archive, error) : error;
  }
}

/** The same error with the archive's name before its place. */
const at = (archive: string, error: QtoolError): QtoolError =>
  new QtoolError(error.code, error.message, {
    at: error.at === undefined ? archive : `${archive}: ${error.at}`,
    hint: error.hint,
    cause: error,
  });

/** @throws QtoolError('usage') where a file is there and may not be written over, or is one that is being read. */
async function mustBeFree(path: string, force: boolean, read: readonly string[]): Promise<void> {
  const info = await stat(path).catch(() => undefined);
  if (!info) return;
  if (info.isDirectory()) throw new QtoolError('usage', 'is a folder, where a file is to be written', { at: path, hint: 'name a file by -o' }); // prettier-ignore
  for (const one of read) {
    const other = await stat(one).catch(() => undefined);
    if (other?.ino === info.ino && other.dev === info.dev)
      throw new QtoolError('usage', 'this file is being read', { at: path, hint: 'name another one by -o' });
  }
  if (!force) throw new QtoolError('usage', 'this file exists', { at: path, hint: 'name another one by -o, or give --force' }); // prettier-ignore
}

async function openSource(file: string, model: string): Promise<{ handle: FileHandle; source: PackSource }> {
  const handle = await open(file, 'r').catch((cause: unknown) => {
    throw new QtoolError('model', `its external data ${file} cannot be opened`, { at: model, hint: 'keep it beside the model, under the name that it was exported with', cause }); // prettier-ignore
  });
  const { size } = await handle.stat();
  const read = async (from: number, length: number): Promise<Uint8Array> => {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length;) {
      const { bytesRead } = await handle.read(bytes, done, Math.min(mostAtOnce, length - done), from + done);
      if (bytesRead === 0) throw new QtoolError('model', `external data ${file} became shorter`, { at: model });
      done += bytesRead;
    }
    return bytes;
  };
  return { handle, source: { size, read } };
}

/** Writes a file beside its final name and renames it into place. */
async function writeAside(path: string, pieces: readonly Uint8Array[]): Promise<void> {
  try {
    await writeFrom(`${path}.part`, () => pieces);
    await rename(`${path}.part`, path);
  } catch (error) {
    await rm(`${path}.part`, { force: true });
    throw error;
  }
}

async function writeFrom(path: string, pieces: () => Iterable<Uint8Array>): Promise<void> {
  const handle = await open(path, 'w').catch((cause: NodeJS.ErrnoException) => {
    throw new QtoolError('usage', `cannot be written (${cause.code})`, { at: path, hint: 'name a place where you may write', cause }); // prettier-ignore
  });
  try {
    for (const piece of pieces())
      for (let from = 0; from < piece.length; from += mostAtOnce) await handle.writeFile(piece.subarray(from, from + mostAtOnce)); // prettier-ignore
  } finally {
    await handle.close();
  }
}
