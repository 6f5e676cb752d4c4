import { extname } from 'node:path';
import { messageOf } from './errors.ts';
import type { Pixels } from './pixels.ts';
import { decodePng } from './png.ts';
import { QtoolError } from '../util/error.ts';
import { loadNative, type Native } from '../util/native.ts';

const native: Native = {
  name: 'sharp',
  purpose: 'decodes images other than PNG',
  install: 'npm install --include=optional sharp',
  needs: 'it needs Linux, macOS or Windows on x64 or arm64',
};

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
  const { default: sharp } = await loadNative(native, () => import('sharp'));
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
