import { QtoolError } from '../util/error.ts';
import { decoder } from './bits.ts';
import { crc32 } from './crc.ts';
import { damaged } from './damaged.ts';
import { codeHead, type HeldFile } from './head.ts';
import type { StoredTensor } from './wire.ts';

/** A tensor out of an archive. */
export interface ArchivedTensor {
  readonly name: string;
  /** Number of its type in onnx.proto: 1 is float32, 3 int8 … */
  readonly type: number;
  readonly dims: readonly number[];
  /** The elements as raw_data holds them: little-endian, in order, sub-byte types packed with the lower bits first. */
  readonly data: Uint8Array;
}

/** A file of external data, as the session option `externalData` of onnxruntime-web takes it. */
export interface ExternalFile {
  /** Where the model looks for it, seen from its own folder. */
  readonly path: string;
  readonly data: Uint8Array;
}

/** What `qtool pack` wrote, opened: the structure is known, weights are decoded when they are asked for. */
export interface Archive {
  /** Names of the tensors. */
  readonly names: readonly string[];
  /** One tensor, without decoding any other. @throws QtoolError where there is none of this name, or it is damaged. */
  readonly tensor: (name: string) => ArchivedTensor;
  /** The model's file, byte for byte: for InferenceSession.create of onnxruntime-web or -node. @throws QtoolError where it is damaged. */
  readonly model: () => Uint8Array;
  /** Its files of external data; none where the model is one file. @throws QtoolError as above. */
  readonly external: () => ExternalFile[];
}

/** Fields of TensorProto that hold elements as they are: float_data, raw_data, double_data. */
const plain = [4, 9, 10];

/** 'QPK' and a byte that no text has, then the version of the format. */
export const magic = [0x51, 0x50, 0x4b, 0x1a, 1];

/** No archive holds more than so many bytes for each of its own: a false one cannot ask for memory without end. */
export const mostExpansion = 4096;

/** What an archive holds, for who takes its files in pieces. @throws QtoolError('model') for what is no archive, or not a whole one. */
export function openArchive(bytes: Uint8Array): ReturnType<typeof codeHead> {
  if (bytes.length === 0 || magic.some((byte, i) => i < bytes.length && byte !== bytes[i]))
    throw new QtoolError('model', 'this is no archive of version 1', { hint: 'give one that qtool pack wrote' });
  let at = 5;
  /** Seven bits a byte, the lowest first. */
  const number = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++] ?? damaged();
      value += (byte & 127) * scale;
      if (byte < 128 || scale > 2 ** 50) return value;
    }
  };
  const check = number();
  const from = at;
  const length = number();
  if (length !== bytes.length) damaged(`${bytes.length} of ${length} bytes are there`);
  if (crc32(bytes.subarray(from)) !== check) damaged('its checksum is wrong');
  const start = number() + at;
  const head = codeHead(decoder(bytes.subarray(at, start)), bytes.subarray(start), mostExpansion * length);
  return start + head.end > length ? damaged() : head;
}

/**
 * Opens an archive. Nothing but its head is decoded.
 * @throws QtoolError('model') for what is no archive, or not a whole one.
 */
export function readArchive(bytes: Uint8Array): Archive {
  const { files, tensors } = openArchive(new Uint8Array(bytes));
  const whole = ({ size, parts }: HeldFile): Uint8Array => {
    const out = new Uint8Array(size);
    for (const part of parts) out.set(part.bytes(), part.start);
    return out;
  };
  const named = new Map<string, StoredTensor>();
  for (const tensor of tensors) if (tensor.name && !named.has(tensor.name)) named.set(tensor.name, tensor);
  return {
    names: [...named.keys()],
    tensor(name) {
      const tensor = named.get(name);
      const outside = tensor?.outside;
      const path = outside?.['location'];
      const place = path === undefined ? tensor?.fields.find(({ field }) => plain.includes(field)) : { start: Number(outside!['offset'] ?? 0), length: Number(outside!['length']) }; // prettier-ignore
      for (const { start, length, bytes } of files.find((file) => file.path === path)!.parts) {
        const from = place ? place.start - start : -1;
        const to = from + (place?.length ?? 0);
        if (from >= 0 && to <= length)
          return { name, type: tensor!.type, dims: tensor!.dims, data: bytes().subarray(from, to) };
      }
      throw new QtoolError('usage', 'no such tensor of raw data', { at: name, hint: 'take the whole model' });
    },
    model: () => whole(files[0]!),
    external: () => files.slice(1).map((file) => ({ path: file.path!, data: whole(file) })),
  };
}
