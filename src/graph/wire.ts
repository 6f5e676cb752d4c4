import { withFile, type Bytes, type FileState, type StoredBytes } from './bytes.ts';
import { GraphCodec, ModelCodec, TensorCodec, type GraphProto, type ModelProto, type TensorProto } from './proto.ts';

/**
 * Reading and writing an ONNX file without its weights in memory: raw_data of the main graph's initializers, which is nearly all of a
 * large file, stays where it is. Wire format: https://protobuf.dev/programming-guides/encoding/
 */

/** The way to it in the schema: Model.graph, Graph.initializer, Tensor.raw_data. */
const [graphField, initializerField, rawField] = [7, 5, 9] as const;
const way: readonly number[] = [graphField, initializerField, rawField];
/** Bytes that are read ahead while the file is walked through. */
const windowBytes = 2 ** 16;

/** A message with the large fields at the end of `way` cut out, and where in it each is missing. */
interface Skimmed {
  readonly bytes: Uint8Array;
  /** Place of the length of a field that is empty here → what belongs there. */
  readonly holes: ReadonlyMap<number, StoredBytes>;
}

/**
 * A model file without the raw_data of initializers from `above` bytes on.
 * @throws Error where the file is no whole protobuf message.
 */
export function skim(file: FileState, above: number): Skimmed {
  return withFile(file, (fill) => {
    let window = new Uint8Array();
    let windowAt = 0;
    const byteAt = (at: number): number => {
      if (at < windowAt || at >= windowAt + window.length) {
        if (at >= file.size) throw new Error('a field ends beyond the file');
        window = new Uint8Array(Math.min(windowBytes, file.size - at));
        fill(window, at);
        windowAt = at;
      }
      return window[at - windowAt] as number;
    };
    const copy = (from: number, to: number): Uint8Array => {
      const bytes = new Uint8Array(to - from);
      if (from >= windowAt && to <= windowAt + window.length)
        bytes.set(window.subarray(from - windowAt, to - windowAt));
      else fill(bytes, from);
      return bytes;
    };
    const message = (begin: number, end: number, depth: number): Skimmed => {
      const parts: Uint8Array[] = [];
      const holes = new Map<number, StoredBytes>();
      let [length, kept, at] = [0, begin, begin];
      const put = (bytes: Uint8Array): void => {
        parts.push(bytes);
        length += bytes.length;
      };
      const number = (): number => {
        let value = 0;
        for (let factor = 1; ; factor *= 128) {
          const byte = byteAt(at++);
          value += (byte & 127) * factor;
          if (byte < 128) return value;
        }
      };
      while (at < end) {
        const key = number();
        const behindKey = at;
        const kind = key & 7;
        if (kind === 0) number();
        else if (kind === 1) at += 8;
        else if (kind === 5) at += 4;
        else if (kind === 2) {
          const size = number();
          const from = at;
          at += size;
          if (at > end) throw new Error('a field ends beyond its message');
          if (key >>> 3 !== way[depth] || size < above) continue;
          // Kept is what came since the last cut, with this field's key.
          put(copy(kept, behindKey));
          kept = at;
          if (depth === way.length - 1) {
            holes.set(length, { file, at: from, length: size });
            put(varint(0));
          } else {
            const inner = message(from, at, depth + 1);
            put(varint(inner.bytes.length));
            for (const [place, hole] of inner.holes) holes.set(length + place, hole);
            put(inner.bytes);
          }
        } else throw new Error(`wire type ${kind} is not known`);
        if (at > end) throw new Error('a field ends beyond its message');
      }
      put(copy(kept, end));
      return { bytes: Buffer.concat(parts), holes };
    };
    return message(0, file.size, 0);
  });
}

/** The messages of a skimmed file, in which the missing raw_data is where it lies in the file. */
export function decodeSkimmed({ bytes, holes }: Skimmed): ModelProto {
  return ModelCodec.decode(bytes, holes);
}

/** A model as the bytes of an .onnx file, in pieces: raw_data of initializers is not copied. */
export function encodeParts(proto: Readonly<ModelProto>): Bytes[] {
  const { before, after } = ModelCodec.around(proto, 'graph');
  return [before, ...(proto.graph ? field(graphField, graphParts(proto.graph)) : []), after];
}

function graphParts(graph: Readonly<GraphProto>): Bytes[] {
  const { before, after } = GraphCodec.around(graph, 'initializer');
  return [before, ...graph.initializer.flatMap((tensor) => field(initializerField, tensorParts(tensor))), after];
}

function tensorParts(tensor: Readonly<TensorProto>): Bytes[] {
  if (!Object.hasOwn(tensor, 'raw_data')) return [TensorCodec.encode(tensor)];
  const { before, after } = TensorCodec.around(tensor, 'raw_data');
  return [before, ...field(rawField, [tensor.raw_data]), after];
}

/** A field of a message or of bytes. */
function field(id: number, content: readonly Bytes[]): Bytes[] {
  const length = content.reduce((sum, part) => sum + part.length, 0);
  return [Buffer.concat([varint(id * 8 + 2), varint(length)]), ...content];
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    bytes.push(rest < 128 ? rest : (rest % 128) | 128);
    if (rest < 128) return Uint8Array.from(bytes);
  }
}
