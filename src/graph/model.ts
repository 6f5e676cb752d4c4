import { QtoolError } from '../util/error.ts';
import { isStored, joined, type Bytes, type FileState, wholeFile } from './bytes.ts';
import { decodeSkimmed, encodeParts, skim } from './wire.ts';
import { ModelCodec, toNumber, type GraphProto, type ModelProto } from './proto.ts';

/**
 * A model as a frozen value: the decoded protobuf messages are shared between models and never changed in place, so that
 * keeping the previous model costs kilobytes. `edit()` is the only way to a changed one.
 */
export interface Model {
  readonly proto: Readonly<ModelProto>;
  readonly graph: Readonly<GraphProto>;
  /** Where it was read from; undefined for graphs made in memory. */
  readonly path: string | undefined;
  /** The bytes or the file it was read from, while unedited: written back as they are. Undefined where weights lay in other files. */
  readonly source: Bytes | undefined;
  /** Bytes of all files it was read from, while unedited, where weights lay in other files. */
  readonly stored: number | undefined;
}

/** A model value around a message. */
export function modelOf(proto: ModelProto, path?: string, source?: Bytes, stored?: number): Model {
  const graph = proto.graph;
  if (!graph) throw new QtoolError('model', 'the model has no graph', { at: path });
  return Object.freeze({ proto, graph, path, source, stored });
}

/**
 * Decodes the bytes of an .onnx file. Tensor data stay views of `bytes`.
 * @throws QtoolError('model') for anything that is not a whole ONNX model.
 */
export function decodeModel(bytes: Uint8Array, path?: string): Model {
  const at = path;
  if (bytes.length === 0) throw new QtoolError('model', 'the file is empty', { at });
  return decoded(bytes, at, bytes, () => ModelCodec.decode(bytes));
}

/**
 * Decodes an .onnx file of which large weights stay in the file until they are needed.
 * @param above bytes of a tensor from which on it does.
 * @throws as `decodeModel`.
 */
export function openModelFile(file: FileState, above: number): Model {
  const head = joined([{ file, at: 0, length: Math.min(512, file.size) }]);
  return decoded(head, file.path, wholeFile(file), () => decodeSkimmed(skim(file, above)));
}

function decoded(head: Uint8Array, at: string | undefined, source: Bytes, decode: () => ModelProto): Model {
  let proto: ModelProto;
  try {
    proto = decode();
  } catch (cause) {
    throw unreadable(head, source.length, at, cause);
  }
  const graph = proto.graph;
  if (!graph || !Object.hasOwn(proto, 'ir_version') || graph.output.length === 0)
    throw unreadable(head, source.length, at);
  const version = toNumber(proto.ir_version);
  if (version < 1 || version > 1000) throw unreadable(head, source.length, at);
  return modelOf(proto, at, source);
}

/** The bytes of an .onnx file of this model in pieces: those it was read from while it is unedited. */
export const modelParts = (model: Model): readonly Bytes[] =>
  model.source ? [model.source] : encodeParts(model.proto);

/** The same in memory. @throws QtoolError at 2 GiB, protobuf's limit. */
export function encodeModel(model: Model): Uint8Array {
  const parts = modelParts(model);
  checkSize(
    model,
    parts.reduce((sum, part) => sum + part.length, 0),
  );
  const [only] = parts;
  return parts.length === 1 && only && !isStored(only) ? only : joined(parts);
}

/** @throws QtoolError where a model's one file would have that many bytes. */
export function checkSize(model: Model, bytes: number): void {
  if (bytes < 2 ** 31) return;
  throw new QtoolError('model', 'the model is over 2 GiB, the limit of one ONNX file', {
    at: model.path,
    hint: 'write it with external data',
  });
}

function unreadable(bytes: Uint8Array, length: number, at: string | undefined, cause?: unknown): QtoolError {
  const head = bytes.subarray(0, 512);
  const printable = head.every((b) => b === 9 || b === 10 || b === 13 || (b >= 32 && b < 127));
  if (printable)
    return new QtoolError('model', 'this is a text file, not an ONNX model', {
      at,
      hint: 'give the .onnx file',
      cause,
    });
  // Field 1 (ir_version, varint) opens every ONNX file an exporter writes.
  const looksLikeOnnx = bytes[0] === 0x08;
  return looksLikeOnnx
    ? new QtoolError('model', `the ONNX model is truncated or damaged (${length} bytes read)`, {
        at,
        hint: 'copy or export it again',
        cause,
      })
    : new QtoolError('model', 'this is not an ONNX model', { at, hint: 'give an .onnx file (ONNX protobuf)', cause });
}
