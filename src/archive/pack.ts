import { cleanLocation } from './outside.ts';
import { QtoolError } from '../util/error.ts';
import { joined } from './choose.ts';
import { crc32 } from './crc.ts';
import { encoder } from './encoder.ts';
import { codeHead, externalPaths, leastLimit, type Span } from './head.ts';
import { packBlob, type PackedBlob } from './pack_blob.ts';
import { magic, mostExpansion, openArchive } from './reader.ts';
import { walk, type StoredTensor, type Walk } from './wire.ts';

/** A file of a model, read as it is needed. */
export interface PackSource {
  readonly size: number;
  read(from: number, length: number): Promise<Uint8Array>;
}

export interface PackOptions {
  /** Opens the file of external data at a path that the model names. */
  readonly open: (path: string) => Promise<PackSource>;
  /** Which values of a tensor of codes, by its name, stand for 0; of all others 0 does. */
  readonly zeros?: ReadonlyMap<string, ReadonlySet<number>> | undefined;
  /** Told before each tensor which share of all bytes is coded. */
  readonly onTensor?: ((share: number, name: string) => void) | undefined;
}

/** Smaller tensors stay in the skeleton: a description and a checksum of their own would take more than they save. */
const leastStored = 256;

/** An archive, and what became of each tensor. */
export interface Packed {
  readonly archive: Uint8Array;
  /** Bytes of what is no stored tensor, as it is and in the head, with the tensors' descriptions. */
  readonly rest: { readonly bytes: number; readonly head: number };
  readonly tensors: readonly (PackedBlob & { readonly tensor: StoredTensor | undefined; readonly length: number })[];
}

/** Makes an archive of a model's file and the files it names, and unpacks it again: nothing that is not the same byte for byte is given back. */
export async function packModel(given: Uint8Array, { open, zeros, onTensor }: PackOptions): Promise<Packed> {
  const model = plainBytes(given);
  const { walked, least } = takenApart(model);
  const main: PackSource = {
    size: model.length,
    read: (from, length) => Promise.resolve(model.subarray(from, from + length)),
  };
  const files: { source: PackSource; spans: readonly Span[] }[] = [{ source: main, spans: walked.cuts }];
  const known = new Map<string, string>();
  for (const path of externalPaths(walked.tensors)) {
    const other = known.get(cleanLocation(path));
    // Both would be unpacked to one place.
    if (other !== undefined)
      throw new QtoolError('model', `"${other}" and "${path}" are one file of external data`, { hint: 'name it in one way' }); // prettier-ignore
    known.set(cleanLocation(path), path);
    const source = await open(path);
    files.push({ source, spans: externalSpans(walked.tensors, path, source.size, least) });
  }
  const total = files.reduce((sum, { source }) => sum + source.size, 0);
  const tensors: Packed['tensors'][number][] = [];
  const texts: Uint8Array[] = [];
  const numbers: number[] = [];
  let done = 0;
  for (const [i, { source, spans }] of files.entries()) {
    if (i > 0) numbers.push(source.size, spans.length);
    let end = 0;
    if (i > 0)
      for (const { start, length } of spans) {
        numbers.push(start - end, length);
        end = start + length;
      }
    end = 0;
    for (const { start, length, owner } of spans) {
      onTensor?.(done / total, owner?.name ?? '');
      texts.push(await source.read(end, start - end));
      const field = owner?.fields.find((one) => one.start === start)?.field;
      const zero = zeros?.get(owner?.name ?? '');
      const packed = packBlob(await source.read(start, length), owner, i > 0 ? undefined : field, zero);
      tensors.push({ ...packed, tensor: owner, length });
      numbers.push(...packed.numbers);
      end = start + length;
      done += length;
    }
    texts.push(await source.read(end, source.size - end));
  }
  const text = joined(texts);
  const own = model.length - walked.cuts.reduce((sum, { length }) => sum + length, 0);
  const bits = encoder();
  const all = [least, own, text.length - own, ...numbers];
  codeHead(bits, new Uint8Array(0), Infinity, { numbers: all, text });
  const head = bits.finish();
  const limit = leastLimit(total, text.length, all.length);
  const archive = assembled(head, joined(tensors.map(({ stored }) => stored)), limit);
  await verify(
    archive,
    files.map(({ source }) => source),
  );
  return { archive, rest: { bytes: text.length, head: head.length }, tensors };
}

/** What is no message of the known form is stored as it is. */
function takenApart(model: Uint8Array): { walked: Walk; least: number } {
  try {
    return { walked: walk(model, leastStored, false), least: leastStored };
  } catch {
    return { walked: walk(model, 0, false), least: 0 };
  }
}

/** Bits of an element of each type of onnx.proto; 0 for strings and what is not known. */
const typeBits = [0, 32, 8, 8, 16, 16, 32, 64, 0, 8, 16, 64, 32, 64, 64, 128, 16, 8, 8, 8, 8, 4, 4, 4, 8, 2, 2];

/**
 * The stretches of a file of external data that are stored by themselves: tensors at places that are there, one after the other. What overlaps one
 * before it, as a tensor that two names share, belongs to that.
 */
function externalSpans(tensors: readonly StoredTensor[], path: string, size: number, least: number): Span[] {
  const spans = tensors.flatMap((owner): Span[] => {
    const { location, offset = 0, length } = owner.outside;
    const elements = owner.dims.reduce((a, b) => a * b, 1);
    const place = {
      start: Number(offset),
      length: Number(length ?? Math.ceil((elements * (typeBits[owner.type] ?? 0)) / 8)),
    };
    const there = place.start >= 0 && place.length >= least && place.start + place.length <= size;
    return location === path && there && Number.isInteger(place.start + place.length) ? [{ ...place, owner }] : [];
  });
  let end = 0;
  return spans
    .sort((a, b) => a.start - b.start || b.length - a.length)
    .filter(({ start, length }) => start >= end && (end = start + length) > 0);
}

/** Magic and version, the CRC-32 of what follows, two lengths, head, tensors, and zeros where it expands too much. */
function assembled(head: Uint8Array, stored: Uint8Array, limit: number): Uint8Array {
  let length = Math.ceil(limit / mostExpansion);
  const rest = (): Uint8Array =>
    joined([Uint8Array.from(varint(length)), Uint8Array.from(varint(head.length)), head, stored]);
  const least = (): number => magic.length + checkBytes + rest().length;
  // Its own length is part of it.
  while (least() > length) length = least();
  const body = joined([rest(), new Uint8Array(length - least())]);
  const check = varint(crc32(body));
  while (check.length < checkBytes) check.push(0);
  for (let i = 0; i < checkBytes - 1; i++) check[i] = check[i]! | 128;
  return joined([Uint8Array.from(magic), Uint8Array.from(check), body]);
}

/** A checksum of 32 bits takes five of seven bits. */
const checkBytes = 5;

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) | 128, ...varint(Math.floor(value / 128))];
}

async function verify(archive: Uint8Array, sources: readonly PackSource[]): Promise<void> {
  const { files } = openArchive(archive);
  for (const [i, source] of sources.entries()) {
    let end = 0;
    for (const part of files[i]?.parts ?? []) {
      const [is, was] = [part.bytes(), await source.read(part.start, part.length)];
      if (part.start !== end || is.length !== was.length || !is.every((byte, k) => byte === was[k]))
        throw new Error(`qtool packed bytes ${part.start} to ${part.start + part.length} of file ${i} wrongly`);
      end += part.length;
    }
    if (end !== source.size) throw new Error(`qtool packed ${end} of ${source.size} bytes of file ${i}`);
  }
}

/** Not Node's kind of byte array, whose slices share its memory. */
export const plainBytes = (bytes: Uint8Array): Uint8Array =>
  new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
