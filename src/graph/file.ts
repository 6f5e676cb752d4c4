import { constants } from 'node:fs';
import { access, copyFile, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, normalize, sep } from 'node:path';
import { QtoolError } from '../util/error.ts';
import { decodeModel, encodeModel, modelOf, type Model } from './model.ts';
import { GraphCodec, ModelCodec, TensorCodec, type StringEntry, type TensorProto } from './proto.ts';
import { dimsOf, elementCount, storedBytes, tensorBytes, typeOf } from './tensor.ts';

/** Above this the writer puts tensor data beside the model: protobuf ends at 2 GiB, and encoding slows down before. */
const externalAbove = 2 ** 30;
/** Tensors below this stay in the model file even then. */
const externalTensor = 1024;

/**
 * Reads a model and the external data it names. External locations are resolved inside the model's folder only.
 * @throws QtoolError('model') where the file is missing, no ONNX model, over 2 GiB, or its external data is unsafe or missing.
 */
export async function readModel(path: string): Promise<Model> {
  const info = await stat(path).catch(() => undefined);
  if (!info) throw new QtoolError('model', 'no such file', { at: path, hint: 'give the path of an .onnx file' });
  if (!info.isFile())
    throw new QtoolError('model', 'this is a folder, not a model file', {
      at: path,
      hint: 'give the .onnx file in it',
    });
  if (info.size >= 2 ** 31)
    throw new QtoolError(
      'model',
      `the file is ${(info.size / 2 ** 30).toFixed(1)} GiB, over protobuf's limit of 2 GiB`,
      {
        at: path,
        hint: 'export it with external data',
      },
    );
  const model = decodeModel(await readFile(path), path);
  return hasExternal(model) ? withExternalData(model, path) : model;
}

/**
 * Writes a model beside its final name and renames it into place, so that a crash leaves no half-written file. Data over
 * 1 GiB, or external before, goes to `<name>.data`; an unedited model is written byte for byte. Returns the bytes on disk.
 */
export async function writeModel(model: Model, path: string): Promise<number> {
  await mkdir(dirname(path), { recursive: true });
  if (model.source) {
    const external = model.path !== undefined && hasExternal(decodeModel(model.source));
    return external ? copyWithData(model, path) : replaceFile(path, encodeModel(model));
  }
  const total = model.graph.initializer.reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
  if (total <= externalAbove) return replaceFile(path, encodeModel(model));
  return writeExternal(model, path);
}

async function replaceFile(path: string, bytes: Uint8Array): Promise<number> {
  const part = `${path}.part`;
  try {
    const file = await open(part, 'w');
    await file.writeFile(bytes);
    await file.close();
    await rename(part, path);
  } catch (cause) {
    await rm(part, { force: true });
    throw new QtoolError('model', `cannot write: ${(cause as Error).message}`, { at: path, cause });
  }
  return bytes.length;
}

const isExternal = (tensor: TensorProto): boolean => tensor.data_location === 1;
const entryOf = (tensor: TensorProto, key: string): string | undefined =>
  tensor.external_data.find((e) => e.key === key)?.value;

function hasExternal(model: Model): boolean {
  return model.graph.initializer.some(isExternal);
}

/** The file a tensor's data is in. @throws QtoolError for absolute paths and paths that leave the model's folder. */
function safeLocation(tensor: TensorProto, folder: string): string {
  const location = entryOf(tensor, 'location') ?? '';
  const clean = normalize(location);
  if (
    location === '' ||
    isAbsolute(location) ||
    /^[A-Za-z]:/.test(location) ||
    clean === '..' ||
    clean.startsWith(`..${sep}`)
  )
    throw new QtoolError('model', `external data at "${location}" lies outside the model's folder`, {
      at: tensor.name,
      hint: 'put the data file beside the model and name it without a path',
    });
  return join(folder, clean);
}

/** Reads each tensor's slice: only what the model names is held, once. */
async function withExternalData(model: Model, path: string): Promise<Model> {
  const initializer: TensorProto[] = [];
  for (const tensor of model.graph.initializer) {
    if (!isExternal(tensor)) {
      initializer.push(tensor);
      continue;
    }
    const file = safeLocation(tensor, dirname(path));
    await access(file, constants.R_OK).catch(() => {
      throw new QtoolError('model', `external data file ${basename(file)} is missing`, {
        at: path,
        hint: 'keep it beside the model',
      });
    });
    const offset = Number(entryOf(tensor, 'offset') ?? 0);
    const length = Number(entryOf(tensor, 'length') ?? storedBytes(typeOf(tensor), elementCount(dimsOf(tensor))));
    const raw = new Uint8Array(length);
    const handle = await open(file, 'r');
    const { bytesRead } = await handle.read(raw, 0, length, offset);
    await handle.close();
    if (bytesRead !== length)
      throw new QtoolError('model', `external data ends after ${bytesRead} of ${length} bytes`, {
        at: tensor.name,
        hint: 'the data file is truncated',
      });
    initializer.push(inline(tensor, raw));
  }
  const whole = ModelCodec.amend(model.proto, { graph: GraphCodec.amend(model.graph, { initializer }) });
  return modelOf(whole, path, model.source);
}

/** The tensor with its data inside the message; the external fields are dropped, everything else stays. */
function inline(tensor: TensorProto, raw: Uint8Array): TensorProto {
  const copy = TensorCodec.amend(tensor, { raw_data: raw, external_data: [] });
  Reflect.deleteProperty(copy, 'data_location');
  return copy;
}

/** An unedited model with external data: its own bytes, and copies of the files it names. */
async function copyWithData(model: Model, path: string): Promise<number> {
  const source = model.source as Uint8Array;
  const from = dirname(model.path as string);
  const named = decodeModel(source).graph.initializer.filter(isExternal);
  const files = new Set(named.map((tensor) => safeLocation(tensor, from)));
  let bytes = 0;
  for (const file of files) {
    const target = join(dirname(path), file.slice(from.length));
    if (normalize(target) !== normalize(file)) {
      await mkdir(dirname(target), { recursive: true });
      await copyFile(file, target);
    }
    bytes += (await stat(target)).size;
  }
  return bytes + (await replaceFile(path, source));
}

/** Large tensors go to one file beside the model, each aligned to 4096 bytes as memory mapping wants. */
async function writeExternal(model: Model, path: string): Promise<number> {
  const location = `${basename(path)}.data`;
  const part = `${join(dirname(path), location)}.part`;
  const file = await open(part, 'w');
  let offset = 0;
  const initializer: TensorProto[] = [];
  for (const tensor of model.graph.initializer) {
    if (!Object.hasOwn(tensor, 'raw_data') || tensor.raw_data.length < externalTensor) {
      initializer.push(tensor);
      continue;
    }
    offset = Math.ceil(offset / 4096) * 4096;
    await file.write(tensor.raw_data, 0, tensor.raw_data.length, offset);
    const raw = tensor.raw_data;
    const entries: StringEntry[] = [
      { key: 'location', value: location },
      { key: 'offset', value: String(offset) },
      { key: 'length', value: String(raw.length) },
    ];
    const outside = TensorCodec.amend(tensor, { external_data: entries, data_location: 1 });
    Reflect.deleteProperty(outside, 'raw_data');
    initializer.push(outside);
    offset += raw.length;
  }
  await file.close();
  const head = ModelCodec.encode(
    ModelCodec.amend(model.proto, { graph: GraphCodec.amend(model.graph, { initializer }) }),
  );
  await rename(part, join(dirname(path), location));
  return offset + (await replaceFile(path, head));
}
