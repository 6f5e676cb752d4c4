import { numbers, type Bits } from './bits.ts';
import { readBlob } from './blobs.ts';
import { codeText } from './coders/text.ts';
import { crc32 } from './crc.ts';
import { damaged } from './damaged.ts';
import type { Next, Stored } from './streams.ts';
import { walk, type StoredTensor } from './wire.ts';

/** A file that an archive holds. */
export interface HeldFile {
  /** Of external data: where the model looks for it, seen from its own folder. */
  readonly path: string | undefined;
  readonly size: number;
  readonly parts: readonly Part[];
}

/** A stretch of a file. */
export interface Span {
  readonly start: number;
  readonly length: number;
  /** Undefined for what is between tensors, which stands in the head. */
  readonly owner: StoredTensor | undefined;
}

export interface Part extends Span {
  /** Decodes it. @throws QtoolError where its checksum is wrong. */
  readonly bytes: () => Uint8Array;
}

/** The files of external data that a model names. */
export const externalPaths = (tensors: readonly StoredTensor[]): string[] =>
  [...new Set(tensors.map(({ outside }) => outside['location']))].filter((path) => path !== undefined);

// A false head cannot ask for work without end: what it makes is paid for in bytes, numbers and text, which take longer, as more of them.
const numberCost = 4;
const textCost = 32;

/** The limit that a head needs whose files have so many bytes. */
export const leastLimit = (bytes: number, text: number, numbers: number): number =>
  bytes + textCost * text + numberCost * numbers;

/**
 * Reads a head, or writes one.
 * @param stored the bytes behind it
 * @param limit bytes that all files together may have, less what numbers and text cost (`leastLimit`)
 * @param given numbers of the head to write, and its text: the model's file without its blobs, and what is between those of the other files
 */
export function codeHead(
  bits: Bits,
  stored: Uint8Array,
  limit: number,
  given?: { readonly numbers: readonly number[]; readonly text: Uint8Array },
): { readonly files: readonly HeldFile[]; readonly tensors: readonly StoredTensor[]; readonly end: number } {
  const code = numbers(bits);
  let told = 0;
  /** Bytes of a file that is not there yet. */
  const claim = (size: number): number => ((limit -= size) < 0 ? damaged() : size);
  const next: Next = (about) => claim(numberCost) && code(about, given?.numbers[told++] ?? 0);
  const least = next('least');
  const own = next('own');
  const text = new Uint8Array(claim(textCost * (own + next('between'))) / textCost);
  if (given) text.set(given.text);
  codeText(bits, text);
  let at = 0;
  let end = 0;
  const file = (path: string | undefined, size: number, spans: readonly Span[]): HeldFile => {
    const parts: Part[] = [];
    let start = 0;
    const between = (to: number): void => {
      const bytes = text.subarray(at, (at += to - start));
      if (bytes.length !== to - start) damaged();
      parts.push({ start, length: bytes.length, owner: undefined, bytes: () => bytes });
    };
    for (const span of spans) {
      between(span.start);
      start = span.start + span.length;
      const check = next('check');
      const blob = readBlob(next, span.length);
      const own = stored.subarray(end, (end += blob.size));
      parts.push({ ...span, bytes: () => checked(blob, own, check, span.owner?.name) });
    }
    between(size);
    return { path, size, parts };
  };
  const { cuts, tensors, size } = walk(text.subarray(0, own), least, true);
  const files = [file(undefined, claim(size), cuts)];
  for (const path of externalPaths(tensors)) {
    const size = claim(next('size'));
    const spans: Span[] = [];
    for (let count = next('spans'), start = 0; count-- > 0;) {
      start += next('between');
      const length = next('own');
      if ((start += length) > size) damaged();
      spans.push({ start: start - length, length, owner: undefined });
    }
    files.push(file(path, size, spans));
  }
  return { files, tensors, end };
}

function checked({ unpack }: Stored<Uint8Array>, bytes: Uint8Array, check: number, at: string | undefined): Uint8Array {
  const data = unpack(bytes);
  return crc32(data) === check ? data : damaged('its checksum is wrong', at);
}
