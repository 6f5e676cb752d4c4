import { crc32, inflateSync } from 'node:zlib';
import type { Pixels } from './pixels.ts';

interface Head {
  readonly width: number;
  readonly height: number;
  readonly type: number;
}

const signature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/** Samples a pixel of each colour type: grey, RGB, palette, grey + alpha, RGB + alpha. */
const samples: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };

/**
 * Decodes the plain kind of PNG that datasets are made of (8 bits a sample, not interlaced) to RGB, alpha dropped; undefined
 * for every other file, damaged ones included, which are then left to the general decoder and its errors. Small images are
 * most of some datasets, and the general decoder's cost for one is many times that of its pixels.
 * Source: PNG specification (third edition), chapters 5, 7, 9 and 10.
 */
export function decodePng(bytes: Uint8Array): Pixels<Uint8Array> | undefined {
  if (!signature.every((byte, i) => bytes[i] === byte)) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const packed: Uint8Array[] = [];
  let head: Head | undefined;
  let palette: Uint8Array | undefined;
  for (let at = 8; ;) {
    if (at + 12 > bytes.length) return undefined;
    const length = view.getUint32(at);
    const end = at + 8 + length;
    if (end + 4 > bytes.length || crc32(bytes.subarray(at + 4, end)) !== view.getUint32(end)) return undefined;
    const body = bytes.subarray(at + 8, end);
    const name = view.getUint32(at + 4);
    if (name === 0x49484452) {
      // IHDR: width, height, bit depth, colour type, compression, filter, interlace.
      if (length !== 13 || body[8] !== 8 || body[12] !== 0) return undefined;
      head = { width: view.getUint32(at + 8), height: view.getUint32(at + 12), type: body[9]! };
    } else if (name === 0x504c5445) palette = body;
    else if (name === 0x49444154) packed.push(body);
    else if (name === 0x49454e44) break;
    at = end + 4;
  }
  const channels = samples[head?.type ?? -1];
  if (head === undefined || channels === undefined || (head.type === 3 && palette === undefined)) return undefined;
  const row = head.width * channels;
  const length = (row + 1) * head.height;
  let raw: Uint8Array;
  try {
    // The default is a buffer of 16 kB for each image, however small.
    const chunkSize = Math.max(64, length + 1);
    raw = inflateSync(packed.length === 1 ? packed[0]! : Buffer.concat(packed), { maxOutputLength: length, chunkSize });
  } catch {
    return undefined;
  }
  const plain = raw.length === length ? unfilter(raw, head.height, row, channels) : undefined;
  const data = plain && toRgb(plain, head, head.type === 3 ? palette : undefined);
  return data && { width: head.width, height: head.height, channels: 3, data };
}

/** The bytes before filtering, without the filter types that the rows begin with; undefined for a type that does not exist. */
function unfilter(raw: Uint8Array, height: number, row: number, channels: number): Uint8Array | undefined {
  const out = new Uint8Array(height * row);
  for (let y = 0; y < height; y++) {
    const type = raw[y * (row + 1)]!;
    const from = y * (row + 1) + 1;
    const to = y * row;
    const above = y > 0;
    if (type === 0 || (type === 2 && !above)) out.set(raw.subarray(from, from + row), to);
    else if (type === 2) for (let i = 0; i < row; i++) out[to + i] = raw[from + i]! + out[to + i - row]!;
    else if (type === 1 || type === 3 || type === 4)
      for (let i = 0; i < row; i++) {
        const beside = i >= channels;
        const left = beside ? out[to + i - channels]! : 0;
        const up = above ? out[to + i - row]! : 0;
        const corner = above && beside ? out[to + i - row - channels]! : 0;
        const guess = type === 1 ? left : type === 3 ? (left + up) >> 1 : paeth(left, up, corner);
        out[to + i] = raw[from + i]! + guess;
      }
    else return undefined;
  }
  return out;
}

function paeth(left: number, up: number, corner: number): number {
  const a = Math.abs(up - corner);
  const b = Math.abs(left - corner);
  const c = Math.abs(left + up - 2 * corner);
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

function toRgb(bytes: Uint8Array, { type }: Head, palette: Uint8Array | undefined): Uint8Array | undefined {
  if (type === 2) return bytes;
  const channels = samples[type]!;
  const pixels = bytes.length / channels;
  const out = new Uint8Array(pixels * 3);
  for (let i = 0, s = 0, o = 0; i < pixels; i++, s += channels, o += 3) {
    if (palette) {
      const at = bytes[s]! * 3;
      if (at + 3 > palette.length) return undefined;
      out[o] = palette[at]!;
      out[o + 1] = palette[at + 1]!;
      out[o + 2] = palette[at + 2]!;
    } else {
      const colour = channels > 2 ? 1 : 0;
      out[o] = bytes[s]!;
      out[o + 1] = bytes[s + colour]!;
      out[o + 2] = bytes[s + 2 * colour]!;
    }
  }
  return out;
}
