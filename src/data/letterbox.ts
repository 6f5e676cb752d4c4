import { roundHalfEven } from '../numerics/rounding.ts';
import type { Pixels } from './pixels.ts';
import { resizeHalfPixel, resizePillow, type PillowMode } from './resize.ts';

/** The grey of the ground, of 255. */
const ground = 114;

/** Resizes an image, the Pillow way or by half pixels. Only 8-bit values go the Pillow way: undefined for others. */
export function resized(
  image: Pixels,
  width: number,
  height: number,
  mode: PillowMode | 'half_pixel',
): Pixels | undefined {
  if (width === image.width && height === image.height) return image;
  if (mode === 'half_pixel') return resizeHalfPixel(image, width, height);
  return image.data instanceof Uint8Array ? resizePillow(image as Pixels<Uint8Array>, width, height, mode) : undefined;
}

/**
 * The whole image as large as it fits in the middle of [height, width], its shape kept, on a grey ground; an odd pixel goes to the right
 * and below. Undefined as of `resized`. Source: ultralytics/ultralytics, ultralytics/data/augment.py, LetterBox (auto=False, center).
 */
export function letterbox(
  image: Pixels,
  [height, width]: readonly [number, number],
  mode: PillowMode | 'half_pixel',
): Pixels | undefined {
  const ratio = Math.min(height / image.height, width / image.width);
  const inner = resized(image, roundHalfEven(image.width * ratio), roundHalfEven(image.height * ratio), mode);
  if (inner === undefined || (inner.width === width && inner.height === height)) return inner;
  const { channels } = image;
  const make = inner.data.constructor as Float32ArrayConstructor;
  const data = new make(width * height * channels).fill(ground);
  const left = roundHalfEven((width - inner.width) / 2 - 0.1);
  const top = roundHalfEven((height - inner.height) / 2 - 0.1);
  const row = inner.width * channels;
  for (let y = 0; y < inner.height; y++)
    data.set(inner.data.subarray(y * row, (y + 1) * row), ((top + y) * width + left) * channels);
  return { width, height, channels, data };
}
