import { createHash } from 'node:crypto';
import { open, readFile, rename, rm, type FileHandle } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { QtoolError } from '../util/error.ts';
import { makeFolder } from '../util/folder.ts';
import { fileState, piecesOf, type Bytes, type FileState } from './bytes.ts';
import { asExternal, externalTensors, withExternalData } from './external.ts';
import { checkSize, decodeModel, modelParts, openModelFile, type Model } from './model.ts';
import { encodeParts } from './wire.ts';
import { GraphCodec, ModelCodec, type TensorProto } from './proto.ts';
import { weightBytes } from './tensor.ts';

/** Above this the writer puts tensor data beside the model: protobuf ends at 2 GiB, and encoding slows down before. */
const externalAbove = 2 ** 30;
/** Tensors below this stay in the model file even then. */
const externalTensor = 1024;
/** What is left in its files when a model is read. */
export interface Left {
  /** Bytes of a model's own file above which its large initializers are left there. */
  readonly file: number;
  /** Bytes of a large initializer. One whose data is external is left where it is, however small the model's own file. */
  readonly tensor: number;
}

const leftByDefault: Left = { file: 2 ** 26, tensor: 2 ** 16 };
/** Everything is read at once: for files that will not stay. */
export const leftNothing: Left = { file: Infinity, tensor: Infinity };

/**
 * The bytes of a model's own file.
 * @throws QtoolError('model') where the file is missing, none, or over 2 GiB.
 */
export async function readModelFile(path: string): Promise<Uint8Array> {
  return readFile(modelFile(path).path);
}

function modelFile(path: string): FileState {
  let file: FileState;
  try {
    file = fileState(path);
  } catch (cause) {
    throw new QtoolError('model', 'no such file', { at: path, hint: 'give the path of an .onnx file', cause });
  }
  if (!file.isFile)
    throw new QtoolError('model', 'this is a folder, not a model file', {
      at: path,
      hint: 'give the .onnx file in it',
    });
  if (file.size >= 2 ** 31)
    throw new QtoolError('model', `the file is ${gib(file.size)} GiB, over protobuf's limit of 2 GiB`, {
      at: path,
      hint: 'export it with external data',
    });
  return file;
}

/**
 * Reads a model and the external data it names. External locations are resolved inside the model's folder only. Large weights
 * of large files stay there until they are needed, and then must be there unchanged.
 * @throws QtoolError('model') where the file is missing, no ONNX model, over 2 GiB, or its external data is unsafe or missing.
 */
export async function readModel(path: string, left = leftByDefault): Promise<Model> {
  const file = modelFile(path);
  const model = file.size > left.file ? openModelFile(file, left.tensor) : decodeModel(await readFile(path), path);
  const outside = externalTensors(model);
  return outside.length > 0 ? withExternalData(model, outside, path, left.tensor) : model;
}

/**
 * Writes a model beside its final name and renames it into place, so that a crash leaves no half-written file. Tensor data goes
 * into the same file, wherever it was read from, but over 1 GiB to `<name>.data`; a model that was read from one file and not
 * edited is written byte for byte. Returns the bytes on disk.
 * @throws QtoolError('model') where that is not possible; what was there before is then still there.
 */
export async function writeModel(model: Model, path: string, limit = externalAbove): Promise<number> {
  try {
    await makeFolder(dirname(path));
    if (inOneFile(model, limit)) {
      const blobs = inOrder(modelParts(model));
      const bytes = endOf(blobs);
      checkSize(model, bytes);
      await writeParts([[path, blobs]]);
      return bytes;
    }
    const data = `${path}.data`;
    const { head, blobs, end } = apart(model, basename(data));
    await writeParts([
      [data, blobs],
      [path, inOrder(head)],
    ]);
    return end + sizeOf(head);
  } catch (cause) {
    if (cause instanceof QtoolError) throw cause;
    throw new QtoolError('model', `cannot write: ${(cause as Error).message}`, { at: path, cause });
  }
}

/** Bytes of the files that a model was read from or, once edited, that `writeModel` writes: the graph and its weights. */
export function modelBytes(model: Model): number {
  if (model.stored !== undefined) return model.stored;
  if (inOneFile(model, externalAbove)) return sizeOf(modelParts(model));
  const { head, end } = apart(model, 'model.onnx.data');
  return sizeOf(head) + end;
}

/**
 * SHA-256 of what `writeModel` writes under `name`: of the file or, where tensor data goes beside it, of the file and then that
 * data (`cat model.onnx model.onnx.data | sha256sum`). A model read from one file and not edited has that file's.
 */
export function modelHash(model: Model, name = 'model.onnx', limit = externalAbove): string {
  const hash = createHash('sha256');
  const take = (raw: Bytes): void => {
    for (const piece of piecesOf(raw)) hash.update(piece);
  };
  if (inOneFile(model, limit)) {
    modelParts(model).forEach(take);
    return hash.digest('hex');
  }
  const { head, blobs } = apart(model, `${name}.data`);
  head.forEach(take);
  let end = 0;
  for (const { at, raw } of blobs) {
    take(new Uint8Array(at - end));
    take(raw);
    end = at + raw.length;
  }
  return hash.digest('hex');
}

const gib = (bytes: number): string => (bytes / 2 ** 30).toFixed(1);

function inOneFile(model: Model, limit: number): boolean {
  return model.source !== undefined || weightBytes(model.graph) <= limit;
}

interface Blob {
  /** Where in the file it stands. */
  readonly at: number;
  readonly raw: Bytes;
}

const sizeOf = (parts: readonly Bytes[]): number => parts.reduce((sum, part) => sum + part.length, 0);

const endOf = (blobs: readonly Blob[]): number => blobs.reduce((end, { at, raw }) => Math.max(end, at + raw.length), 0);

/** Parts one behind the other from the beginning of a file on. */
function inOrder(parts: readonly Bytes[]): Blob[] {
  let end = 0;
  return parts.map((raw) => {
    end += raw.length;
    return { at: end - raw.length, raw };
  });
}

/** The model with its large tensors in a file beside it, each aligned to 4096 bytes as memory mapping wants. */
function apart(model: Model, location: string): { head: readonly Bytes[]; blobs: Blob[]; end: number } {
  const blobs: Blob[] = [];
  let end = 0;
  const initializer = model.graph.initializer.map((tensor): TensorProto => {
    const raw = tensor.raw_data;
    if (!Object.hasOwn(tensor, 'raw_data') || raw.length < externalTensor) return tensor;
    const at = Math.ceil(end / 4096) * 4096;
    blobs.push({ at, raw });
    end = at + raw.length;
    return asExternal(tensor, location, at, raw.length);
  });
  const head = encodeParts(ModelCodec.amend(model.proto, { graph: GraphCodec.amend(model.graph, { initializer }) }));
  return { head, blobs, end };
}

/**
 * Writes each file as `<path>.part`, then renames them, the last one last. Where there are two, the old model goes first: it
 * must never be seen with the new one's data.
 */
async function writeParts(files: readonly (readonly [string, readonly Blob[]])[]): Promise<void> {
  const part = (path: string): string => `${path}.part`;
  try {
    for (const [path, blobs] of files) {
      const file = await open(part(path), 'w');
      try {
        for (const { at, raw } of blobs) await writeAll(file, raw, at);
      } finally {
        await file.close();
      }
    }
    const last = files.at(-1)?.[0] ?? '';
    if (files.length > 1) await rm(last, { force: true });
    for (const [path] of files) await rename(part(path), path);
  } catch (error) {
    for (const [path] of files) await rm(part(path), { force: true });
    throw error;
  }
}

async function writeAll(file: FileHandle, raw: Bytes, at: number): Promise<void> {
  let place = at;
  for (const piece of piecesOf(raw))
    for (let done = 0; done < piece.length;) {
      const { bytesWritten } = await file.write(piece, done, piece.length - done, place);
      done += bytesWritten;
      place += bytesWritten;
    }
}
