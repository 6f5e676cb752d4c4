import { dirname, isAbsolute, join, normalize, sep } from 'node:path';
import { QtoolError } from '../util/error.ts';
import { bytesOf, fileState, type Bytes, type FileState, type StoredBytes } from './bytes.ts';
import { modelOf, type Model } from './model.ts';
import { AttributeCodec, FunctionCodec, GraphCodec, ModelCodec, NodeCodec, TensorCodec } from './proto.ts';
import type { AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto } from './proto.ts';
import { dimsOf, elementCount, storedBytes, typeOf } from './tensor.ts';

/** The tensors of a model that lie in other files: initializers and attributes, those of bodies and local functions too. */
export function externalTensors(model: Model): TensorProto[] {
  const found: TensorProto[] = [];
  replaced(model.proto, (tensor) => {
    if (tensor.data_location === 1) found.push(tensor);
    return tensor;
  });
  return found;
}

/**
 * A model with those tensors' data. Only what the model names is read, each tensor once; initializers of the main graph of `above` bytes
 * and more stay in their files.
 * @throws QtoolError('model') naming the tensor: no file or one outside of the model's folder, one that is missing or too
 * short, an offset or a length that is no number or does not fit the shape.
 * @see https://github.com/onnx/onnx/blob/main/docs/ExternalData.md
 */
export function withExternalData(model: Model, tensors: readonly TensorProto[], path: string, above: number): Model {
  const files = new Map<string, FileState>();
  const whole = new Map<TensorProto, TensorProto>();
  const main = new Set(model.graph.initializer);
  for (const tensor of tensors) {
    const location = safeLocation(tensor, dirname(path));
    const file = files.get(location) ?? dataFile(location, tensor);
    files.set(location, file);
    const stored = slice(tensor, file);
    const stays = main.has(tensor) && stored.length >= above;
    whole.set(tensor, inline(tensor, stays ? stored : read(stored, tensor)));
  }
  const bytes = [...files.values()].reduce((sum, { size }) => sum + size, model.source?.length ?? 0);
  const proto = replaced(model.proto, (tensor) => whole.get(tensor) ?? tensor);
  return modelOf(proto, path, undefined, bytes);
}

const entryOf = (tensor: TensorProto, key: string): string | undefined =>
  tensor.external_data.find((e) => e.key === key)?.value;

/** The file a tensor's data is in. @throws QtoolError for absolute paths and paths that leave the model's folder. */
function safeLocation(tensor: TensorProto, folder: string): string {
  const at = tensor.name;
  const location = entryOf(tensor, 'location') ?? '';
  if (location === '')
    throw new QtoolError('model', 'its data is external, but no file is named', { at, hint: 'export the model again' });
  const clean = normalize(location);
  if (isAbsolute(location) || /^[A-Za-z]:/.test(location) || clean === '..' || clean.startsWith(`..${sep}`))
    throw new QtoolError('model', `external data at "${location}" lies outside the model's folder`, {
      at,
      hint: 'put the data file beside the model and name it without a path',
    });
  return join(folder, clean);
}

function dataFile(path: string, tensor: TensorProto): FileState {
  let what = 'missing';
  try {
    const file = fileState(path);
    if (file.isFile) return file;
    what = 'no file';
  } catch {
    // Said below.
  }
  throw new QtoolError('model', `external data file ${path} is ${what}`, {
    at: tensor.name,
    hint: 'keep it beside the model, under the name that it was exported with',
  });
}

/** Where a tensor's bytes are. All sizes are checked before any memory is asked for. */
function slice(tensor: TensorProto, file: FileState): StoredBytes {
  const at = tensor.name;
  const number = (key: 'offset' | 'length', otherwise: number): number => {
    const text = entryOf(tensor, key);
    const value = text === undefined ? otherwise : Number(text);
    if (text !== undefined && !(/^\d+$/.test(text) && Number.isSafeInteger(value)))
      throw new QtoolError('model', `the ${key} of its external data is "${text}", no number of bytes`, {
        at,
        hint: 'export the model again',
      });
    return value;
  };
  const bytes = storedBytes(typeOf(tensor), elementCount(dimsOf(tensor)));
  const offset = number('offset', 0);
  const length = number('length', bytes);
  if (length !== bytes)
    throw new QtoolError(
      'model',
      `its external data has ${length} bytes, its shape [${dimsOf(tensor).join(', ')}] takes ${bytes}`,
      { at, hint: 'export the model again' },
    );
  if (offset + length > file.size)
    throw new QtoolError('model', `external data ends after ${Math.max(0, file.size - offset)} of ${length} bytes`, {
      at,
      hint: 'the data file is truncated: copy or export it again',
    });
  return { file, at: offset, length };
}

function read(stored: StoredBytes, { name: at }: TensorProto): Uint8Array {
  try {
    return bytesOf(stored);
  } catch (cause) {
    const message = `its external data of ${stored.length} bytes cannot be read: ${(cause as Error).message}`;
    throw new QtoolError('model', message, { at, cause });
  }
}

/** The tensor with its data in a file at that place, named from the model's folder. */
export function asExternal(tensor: TensorProto, location: string, offset: number, length: number): TensorProto {
  const external_data = [
    { key: 'location', value: location },
    { key: 'offset', value: String(offset) },
    { key: 'length', value: String(length) },
  ];
  const outside = TensorCodec.amend(tensor, { external_data, data_location: 1 });
  Reflect.deleteProperty(outside, 'raw_data');
  return outside;
}

/** The tensor with its data inside the message; the external fields are dropped, everything else stays. */
function inline(tensor: TensorProto, raw: Bytes): TensorProto {
  const copy = TensorCodec.amend(tensor, { raw_data: raw, external_data: [] });
  Reflect.deleteProperty(copy, 'data_location');
  return copy;
}

type Change = (tensor: TensorProto) => TensorProto;

/** The model with each stored tensor changed, wherever it stands. */
function replaced(proto: Readonly<ModelProto>, change: Change): ModelProto {
  return ModelCodec.amend(proto, {
    graph: graphWith(proto.graph!, change),
    functions: proto.functions.map((f) =>
      FunctionCodec.amend(f, { node: f.node.map((node) => nodeWith(node, change)) }),
    ),
  });
}

function graphWith(graph: GraphProto, change: Change): GraphProto {
  return GraphCodec.amend(graph, {
    node: graph.node.map((node) => nodeWith(node, change)),
    initializer: graph.initializer.map(change),
    sparse_initializer: graph.sparse_initializer.map((sparse) => sparseWith(sparse, change)),
  });
}

function nodeWith(node: NodeProto, change: Change): NodeProto {
  const holds = (a: AttributeProto): boolean =>
    Boolean(a.t ?? a.g ?? a.sparse_tensor) || [a.tensors, a.graphs, a.sparse_tensors].some((list) => list.length > 0);
  if (!node.attribute.some(holds)) return node;
  return NodeCodec.amend(node, { attribute: node.attribute.map((a) => (holds(a) ? attributeWith(a, change) : a)) });
}

function attributeWith(a: AttributeProto, change: Change): AttributeProto {
  return AttributeCodec.amend(a, {
    ...(a.t ? { t: change(a.t) } : {}),
    ...(a.g ? { g: graphWith(a.g, change) } : {}),
    ...(a.sparse_tensor ? { sparse_tensor: sparseWith(a.sparse_tensor, change) } : {}),
    tensors: a.tensors.map(change),
    graphs: a.graphs.map((graph) => graphWith(graph, change)),
    sparse_tensors: a.sparse_tensors.map((sparse) => sparseWith(sparse, change)),
  });
}

function sparseWith(sparse: SparseTensorProto, change: Change): SparseTensorProto {
  return {
    ...sparse,
    ...(sparse.values ? { values: change(sparse.values) } : {}),
    ...(sparse.indices ? { indices: change(sparse.indices) } : {}),
  };
}
