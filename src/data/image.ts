import { extname } from 'node:path';
import { messageOf } from './errors.ts';
import { decodePng } from './png.ts';
import { QtoolError } from '../util/error.ts';

/** An image, rows from the top, channels together: `data` is [height, width, channels]. */
export interface Pixels<T extends PixelData = PixelData> {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly data: T;
}

export type PixelData = Uint8Array | Float32Array | Float64Array | Int8Array | Int16Array | Uint16Array | Int32Array;

/** File types that are decoded. */
export const imageTypes: readonly string[] = ['.png', '.jpg', '.jpeg', '.webp', '.gif', '.tif', '.tiff', '.avif'];

export function isImage(file: string): boolean {
  return imageTypes.includes(extname(file).toLowerCase());
}

/**
 * Decodes an image to 8-bit RGB as PIL's `convert("RGB")` gives it: colour profiles and EXIF rotation are not applied, alpha
 * is dropped, grey becomes three equal channels.
 * @throws QtoolError `data` where it does not decode.
 */
export async function decodeImage(bytes: Uint8Array, name: string): Promise<Pixels<Uint8Array>> {
  const plain = decodePng(bytes);
  if (plain) return plain;
  const { default: sharp } = await import('sharp');
  try {
    const { data, info } = await sharp(bytes, { ignoreIcc: true, failOn: 'error' })
      .toColourspace('srgb')
      .removeAlpha()
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    const pixels = {
      width: info.width,
      height: info.height,
      channels: info.channels,
      data: new Uint8Array(data.buffer, data.byteOffset, data.length),
    };
    return info.channels === 3 ? pixels : triple(pixels);
  } catch (cause) {
    throw new QtoolError('data', `the image does not decode: ${messageOf(cause)}`, {
      at: name,
      hint: 'Replace the file or take it out of the dataset.',
      cause,
    });
  }
}

function triple({ width, height, channels, data }: Pixels<Uint8Array>): Pixels<Uint8Array> {
  const out = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) out.fill(data[i * channels]!, i * 3, i * 3 + 3);
  return { width, height, channels: 3, data: out };
}

/** RGB → one channel of ITU-R 601-2 luma, as PIL's `convert("L")`: L = 0.299 R + 0.587 G + 0.114 B in 16-bit fixed point. */
export function toGrey({ width, height, channels, data }: Pixels<Uint8Array>): Pixels<Uint8Array> {
  if (channels === 1) return { width, height, channels, data };
  const out = new Uint8Array(width * height);
  for (let i = 0, s = 0; i < out.length; i++, s += channels)
    out[i] = (data[s]! * 19595 + data[s + 1]! * 38470 + data[s + 2]! * 7471 + 0x8000) >> 16;
  return { width, height, channels: 1, data: out };
}
