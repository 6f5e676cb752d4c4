import { QtoolError } from '../util/error.ts';
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
  /** The bytes it was read from, while unedited: written back as they are. Undefined where weights lay in other files. */
  readonly source: Uint8Array | undefined;
  /** Bytes of all files it was read from, while unedited, where weights lay in other files. */
  readonly stored: number | undefined;
}

/** A model value around a message. */
export function modelOf(proto: ModelProto, path?: string, source?: Uint8Array, stored?: number): Model {
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
  let proto: ModelProto;
  try {
    proto = ModelCodec.decode(bytes);
  } catch (cause) {
    throw unreadable(bytes, at, cause);
  }
  const graph = proto.graph;
  if (!graph || !Object.hasOwn(proto, 'ir_version') || graph.output.length === 0) throw unreadable(bytes, at);
  const version = toNumber(proto.ir_version);
  if (version < 1 || version > 1000) throw unreadable(bytes, at);
  return modelOf(proto, path, bytes);
}

/** The bytes of a model: those it was read from while it is unedited. @throws QtoolError at 2 GiB, protobuf's limit. */
export function encodeModel(model: Model): Uint8Array {
  const bytes = model.source ?? ModelCodec.encode(model.proto);
  if (bytes.length >= 2 ** 31)
    throw new QtoolError('model', 'the model is over 2 GiB, the limit of one ONNX file', {
      at: model.path,
      hint: 'write it with external data',
    });
  return bytes;
}

function unreadable(bytes: Uint8Array, at: string | undefined, cause?: unknown): QtoolError {
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
    ? new QtoolError('model', `the ONNX model is truncated or damaged (${bytes.length} bytes read)`, {
        at,
        hint: 'copy or export it again',
        cause,
      })
    : new QtoolError('model', 'this is not an ONNX model', { at, hint: 'give an .onnx file (ONNX protobuf)', cause });
}
