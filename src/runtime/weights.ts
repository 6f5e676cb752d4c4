import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { checkUnchanged, isStored, joined } from '../graph/bytes.ts';
import { asExternal } from '../graph/external.ts';
import { writeModel } from '../graph/file.ts';
import { encodeModel, type Model } from '../graph/model.ts';
import { GraphCodec, ModelCodec, type TensorProto } from '../graph/proto.ts';
import { weightBytes } from '../graph/tensor.ts';
import { encodeParts } from '../graph/wire.ts';

/** A model as onnxruntime is given it. */
export interface Artifact {
  readonly source: string | Uint8Array;
  /** Session configuration that goes with it. */
  readonly config: Readonly<Record<string, string>>;
  /** Removes what was written for it, which may be mapped while a session lives. */
  remove(): Promise<void>;
}

/** protobuf ends at 2 GiB, and onnxruntime copies a buffer once more. */
const inMemoryLimit = 2 ** 30;
/** Constants below this many bytes go along where a graph is only looked at: scales, zero points, shapes, which optimizations read. */
const smallConstant = 1024;
/** Below this many bytes of weights there is little to save. */
const blankAbove = 2 ** 25;
/** What onnxruntime reads with any instruction has to be aligned to. */
const alignment = 64;

const folderKey = 'session.model_external_initializers_file_folder_path';
const keepAsStored = { 'session.disable_prepacking': '1' };
const nothing = (): Promise<void> => Promise.resolve();

/**
 * A model for a session that computes with it. What lies aligned in files beside each other is mapped by onnxruntime from there;
 * what is more than `fileAbove` bytes beyond that goes through a temporary file.
 *
 * Unless `packed`, mapped weights are not laid out anew, which would copy them: float products of 64 rows are a third slower so.
 */
export async function withWeights(
  model: Model,
  { fileAbove = inMemoryLimit, packed = false }: { readonly fileAbove?: number; readonly packed?: boolean } = {},
): Promise<Artifact> {
  const { source } = model;
  const asStored = packed || needsPacking(model) ? {} : keepAsStored;
  if (weightBytes(model.graph) <= fileAbove) {
    if (!source || !isStored(source)) return { source: encodeModel(model), config: {}, remove: nothing };
    checkUnchanged(source.file, statSync(source.file.path));
    return { source: source.file.path, config: {}, remove: nothing };
  }
  const mapped = model.graph.initializer.filter(isMappable);
  const folder = folderOf(mapped);
  if (folder !== undefined && weightBytes(model.graph) - weightBytes({ initializer: mapped }) <= inMemoryLimit) {
    const bytes = replaced(model, (tensor) => {
      const { raw_data: raw } = tensor;
      if (!isMappable(tensor) || !isStored(raw)) return tensor;
      checkUnchanged(raw.file, statSync(raw.file.path));
      return asExternal(tensor, basename(raw.file.path), raw.at, raw.length);
    });
    return { source: bytes, config: { ...asStored, [folderKey]: folder }, remove: nothing };
  }
  return inFolder(async (folder) => {
    const path = join(folder, 'model.onnx');
    await writeModel(model, path, 0);
    return { source: path, config: asStored };
  });
}

/**
 * A model for a session that is only looked at: its large constants are zeros that no disk holds. onnxruntime makes the same graph of
 * it, types and shapes are the same, and nothing is read. No kernel must run.
 */
export async function withoutWeights(model: Model, above = blankAbove): Promise<Artifact> {
  if (weightBytes(model.graph) <= above) return withWeights(model);
  return inFolder(async (folder) => {
    let end = 0;
    const bytes = replaced(model, (tensor) => {
      if (!Object.hasOwn(tensor, 'raw_data') || tensor.raw_data.length < smallConstant) return tensor;
      const at = end;
      end += Math.ceil(tensor.raw_data.length / alignment) * alignment;
      return asExternal(tensor, 'zeros', at, tensor.raw_data.length);
    });
    await writeFile(join(folder, 'zeros'), '');
    await truncate(join(folder, 'zeros'), end);
    return { source: bytes, config: { ...keepAsStored, [folderKey]: folder } };
  });
}

/** Unpacked, these take 50 times as long. */
const needsPacking = ({ graph }: Model): boolean =>
  graph.node.some(({ op_type }) => op_type === 'MatMulNBits' || op_type === 'DequantizeLinear');

async function inFolder(make: (folder: string) => Promise<Omit<Artifact, 'remove'>>): Promise<Artifact> {
  const folder = await mkdtemp(join(tmpdir(), 'qtool-model-'));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    return { ...(await make(folder)), remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

const isMappable = ({ raw_data: raw }: TensorProto): boolean => isStored(raw) && raw.at % alignment === 0;

/** The one folder that all these tensors lie in. */
function folderOf(tensors: readonly TensorProto[]): string | undefined {
  const folders = new Set(tensors.flatMap(({ raw_data: raw }) => (isStored(raw) ? [dirname(raw.file.path)] : [])));
  return folders.size === 1 ? [...folders][0] : undefined;
}

function replaced({ proto, graph }: Model, change: (tensor: TensorProto) => TensorProto): Uint8Array {
  const initializer = graph.initializer.map(change);
  return joined(encodeParts(ModelCodec.amend(proto, { graph: GraphCodec.amend(graph, { initializer }) })));
}
