import { crc32, inflateSync } from 'node:zlib';
import type { Pixels } from './pixels.ts';

interface Size {
  readonly width: number;
  readonly height: number;
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
  let head: (Size & { readonly type: number }) | undefined;
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
    raw = inflateSync(packed.length === 1 ? packed[0]! : Buffer.concat(packed), { maxOutputLength: length });
  } catch {
    return undefined;
  }
  const plain = raw.length === length ? unfilter(raw, head.height, row, channels) : undefined;
  const data = plain && toRgb(plain, head, channels, head.type === 3 ? palette : undefined);
  return data && { width: head.width, height: head.height, channels: 3, data };
}

/** The bytes before filtering, without the filter types that the rows begin with; undefined for a type that does not exist. */
function unfilter(raw: Uint8Array, height: number, row: number, channels: number): Uint8Array | undefined {
  // Behind a row of zeros and, in each row, a pixel of zeros, every byte has a left, upper and upper left neighbour.
  const width = row + channels;
  const out = new Uint8Array((height + 1) * width);
  for (let y = 0; y < height; y++) {
    const type = raw[y * (row + 1)]!;
    const from = y * (row + 1) + 1;
    const to = (y + 1) * width + channels;
    if (type === 0) out.set(raw.subarray(from, from + row), to);
    else if (type === 1) for (let i = 0; i < row; i++) out[to + i] = raw[from + i]! + out[to + i - channels]!;
    else if (type === 2) for (let i = 0; i < row; i++) out[to + i] = raw[from + i]! + out[to + i - width]!;
    else if (type === 3)
      for (let i = 0; i < row; i++)
        out[to + i] = raw[from + i]! + ((out[to + i - channels]! + out[to + i - width]!) >> 1);
    else if (type === 4)
      for (let i = 0; i < row; i++)
        out[to + i] =
          raw[from + i]! + paeth(out[to + i - channels]!, out[to + i - width]!, out[to + i - width - channels]!);
    else return undefined;
  }
  return out;
}

function paeth(left: number, up: number, corner: number): number {
  const guess = left + up - corner;
  const a = Math.abs(guess - left);
  const b = Math.abs(guess - up);
  const c = Math.abs(guess - corner);
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

function toRgb(
  bytes: Uint8Array,
  { width, height }: Size,
  channels: number,
  palette: Uint8Array | undefined,
): Uint8Array | undefined {
  const out = new Uint8Array(width * height * 3);
  let o = 0;
  for (let y = 1; y <= height; y++) {
    let s = y * (width + 1) * channels + channels;
    for (let x = 0; x < width; x++, s += channels, o += 3) {
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
  }
  return out;
}
