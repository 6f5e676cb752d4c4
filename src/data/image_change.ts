import { dataError } from './errors.ts';
import { toGrey, type Pixels } from './pixels.ts';

/** Left, top, width and height, in pixels. */
export type Box = readonly [x: number, y: number, width: number, height: number];

/** How an image comes to the size that the model wants where nothing is left to chance. */
export interface Fitting {
  /** Width and height in the end. */
  size(image: Pixels): readonly [width: number, height: number];
  /** The whole image, before the crop of the middle. */
  whole(image: Pixels): Pixels;
  /** That crop, of what `whole` gave. */
  middle(image: Pixels): Box;
  /** The image at exactly this size. */
  exactly(image: Pixels, width: number, height: number): Pixels;
}

/** What chance makes of one image: it comes to its size by another way, may be mirrored and may change colour. */
export type ImageChange = (image: Pixels, fitting: Fitting, name: string) => Pixels;

/** A part of an image, which may reach over its edges: there it is 0. `mirrored`: left and right change places. */
export function cutOut(image: Pixels, [x0, y0, width, height]: Box, mirrored = false): Pixels {
  const { channels, data } = image;
  const out = new (data.constructor as Float32ArrayConstructor)(width * height * channels);
  const left = Math.max(0, -x0);
  const right = Math.min(width, image.width - x0);
  for (let y = Math.max(0, -y0); y < Math.min(height, image.height - y0) && left < right; y++) {
    let s = ((y0 + y) * image.width + x0 + left) * channels;
    if (!mirrored) out.set(data.subarray(s, s + (right - left) * channels), (y * width + left) * channels);
    else
      for (let x = left; x < right; x++)
        for (let c = 0, o = (y * width + width - 1 - x) * channels; c < channels; c++) out[o++] = data[s++]!;
  }
  return { width, height, channels, data: out };
}

export type Colour = 'brightness' | 'contrast' | 'saturation';

/**
 * Brightness, contrast or saturation times `factor`: a mixture with black, with the mean grey, or with the image's own grey, as Pillow's
 * ImageEnhance has it, bit for bit. One channel has no saturation.
 */
export function withColour(image: Pixels, what: Colour, factor: number, name: string): Pixels {
  if (!isBytes(image))
    throw dataError('color_jitter changes 8-bit images, and this is an array of other numbers', name, 'Leave color_jitter out, or give the images as they were before normalization.'); // prettier-ignore
  const { channels, data } = image;
  if (channels !== 1 && channels !== 3) throw dataError(`color_jitter changes images of 1 or 3 channels, this has ${channels}`, name); // prettier-ignore
  if (what === 'saturation' && channels === 1) return image;
  const grey = what === 'brightness' ? undefined : toGrey(image).data;
  const mean = what === 'contrast' ? Math.trunc(sum(grey!) / grey!.length + 0.5) : 0;
  // g + factor · (v − g), by the difference. Pillow's arithmetic is of 32-bit floats, cut off.
  const alpha = Math.fround(factor);
  const steps = new Float32Array(511);
  for (let i = 0; i < 511; i++) steps[i] = alpha * (i - 255);
  const blend = (g: number, v: number): number => {
    const mixed = Math.fround(g + steps[v - g + 255]!);
    return mixed <= 0 ? 0 : mixed >= 255 ? 255 : mixed | 0;
  };
  const out = new Uint8Array(data.length);
  if (what === 'saturation')
    for (let i = 0, o = 0; i < grey!.length; i++) for (let c = 0; c < 3; c++, o++) out[o] = blend(grey![i]!, data[o]!);
  else {
    const table = new Uint8Array(256);
    for (let v = 0; v < 256; v++) table[v] = blend(mean, v);
    for (let i = 0; i < data.length; i++) out[i] = table[data[i]!]!;
  }
  return { ...image, data: out };
}

const isBytes = (image: Pixels): image is Pixels<Uint8Array> => image.data instanceof Uint8Array;

function sum(values: Uint8Array): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i]!;
  return total;
}
