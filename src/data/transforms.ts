import * as z from 'zod';
import { dtypes, type DType } from '../graph/dtype.ts';
import { elementCount } from '../graph/tensor.ts';
import { roundHalfEven } from '../numerics/rounding.ts';
import { cast } from './cast.ts';
import { dataError } from './errors.ts';
import type { Box, Fitting, ImageChange } from './image_change.ts';
import { letterbox, resized } from './letterbox.ts';
import { toGrey, type PixelData, type Pixels } from './pixels.ts';
import type { Tensor } from './types.ts';

const size = z.union([z.int().min(1), z.tuple([z.int().min(1), z.int().min(1)])]);
const perChannel = z.union([z.number(), z.array(z.number()).min(1)]);
/** What multiplies or divides by 0 leaves nothing of an image. */
const notZero = { error: 'must not be 0' };
const divisors = perChannel.refine((value) => ![value].flat().includes(0), notZero);
const resizeModes = ['bilinear', 'bicubic', 'lanczos', 'box', 'nearest', 'half_pixel'] as const;

/** The steps from decoded pixels to a model's input. Their order is fixed: it is the order of the fields below. */
export const transformsSchema = z
  .strictObject({
    stored: z.enum(['HWC', 'CHW', 'HW']).describe('How an image lies in an array. Guessed where it is clear.'),
    color: z
      .enum(['RGB', 'BGR', 'grey'])
      .describe('Channels of the model. Default: RGB, or grey where it has one channel.'),
    resize: size.describe('A number: the shorter side. [height, width]: exactly.'),
    letterbox: size.describe(
      'In place of resize: the whole image, as large as it fits into this square or [height, width], on a grey ground.',
    ),
    resize_mode: z.enum(resizeModes).describe('Default bilinear. All but half_pixel are Pillow, bit for bit.'),
    center_crop: size.describe('A number (square) or [height, width].'),
    crop_rounding: z
      .enum(['even', 'floor'])
      .describe(
        'Where the middle falls between two pixels: the even one (torchvision, default) or the first (TensorFlow, Keras).',
      ),
    scale: z
      .union([
        z.number(),
        z.string().regex(/^\s*\d+(\.\d+)?\s*\/\s*\d+(\.\d+)?\s*$/, 'must be a number or a fraction such as 1/255'),
      ])
      .refine((scale) => Number.isFinite(scaleOf(scale)) && scaleOf(scale) !== 0, notZero)
      .describe('Multiplies the values 0 to 255; a fraction (1/255) is taken exactly.'),
    offset: perChannel.describe('Is added after the scale.'),
    mean: perChannel.describe("Is subtracted after that, in the order of the model's channels."),
    std: divisors.describe('Divides at the end.'),
    layout: z.enum(['NCHW', 'NHWC']).describe("Default: what the model's input shape says, else NCHW."),
    dtype: z
      .enum(['float32', 'float16', 'float64', 'uint8', 'int8', 'int32', 'int64'])
      .describe("Default: the model input's type."),
  })
  .partial();

export type Transforms = z.infer<typeof transformsSchema>;

/**
 * Turns one image into a tensor [1, channels, height, width] or [1, height, width, channels]; `over` is an array to write it to if it fits,
 * `change` what chance makes of the image on its way.
 */
export type ImageTransform = (pixels: Pixels, name: string, over?: Tensor['data'], change?: ImageChange) => Tensor;

type Dims = readonly (number | string)[];
const numberAt = (dims: Dims, axis: number): number | undefined => {
  const dim = dims.at(axis);
  return typeof dim === 'number' ? dim : undefined;
};
const isChannels = (dim: number | undefined): boolean => dim === 1 || dim === 3;

/** Which axes of an input of rank 4 are channels, height and width. */
export const imageAxes = (dims: Dims): readonly [number, number, number] =>
  layoutOf(dims) === 'NCHW' ? [1, 2, 3] : [3, 1, 2];

function layoutOf(dims: Dims): 'NCHW' | 'NHWC' {
  const last = dims.length === 4 && isChannels(numberAt(dims, 3));
  return last && !isChannels(numberAt(dims, 1)) ? 'NHWC' : 'NCHW';
}

/** The number that a `scale` means. */
export function scaleOf(scale: number | string | undefined): number {
  if (typeof scale !== 'string') return scale ?? 1;
  const [above, below] = scale.split('/').map(Number);
  return above! / below!;
}

const sides = (of: z.infer<typeof size>): readonly [number, number] => (typeof of === 'object' ? of : [of, of]);

const perChannelOf = (values: number | readonly number[] | undefined, channel: number, none: number): number =>
  Math.fround(typeof values === 'object' ? values[values.length === 1 ? 0 : channel]! : (values ?? none));

/** One channel's arithmetic, in the float32 steps that numpy and torch take: ((v · scale + offset) − mean) / std. */
function arithmetic(t: Transforms, channel: number): (value: number) => number {
  const scale = scaleOf(t.scale);
  const offset = perChannelOf(t.offset, channel, 0);
  const mean = perChannelOf(t.mean, channel, 0);
  const std = perChannelOf(t.std, channel, 1);
  const { fround } = Math;
  return (v) => fround(fround(fround(fround(v * scale) + offset) - mean) / std);
}

/** The pixel size that `resize` gives: both sides, or the shorter side with the longer one truncated, as torchvision does. */
export function resizedSize(resize: Transforms['resize'], width: number, height: number): readonly [number, number] {
  if (resize === undefined) return [width, height];
  if (typeof resize === 'object') return [resize[1], resize[0]];
  const long = Math.trunc((resize * Math.max(width, height)) / Math.min(width, height));
  return width <= height ? [resize, long] : [long, resize];
}

/**
 * Compiles the steps for one model input. The returned function throws QtoolError `data` for an image smaller than the crop
 * and for per-channel lists that do not fit the channels.
 */
export function compileTransforms(
  t: Transforms,
  input: { readonly type: DType; readonly dims: Dims | undefined },
): ImageTransform {
  const dims = input.dims ?? [];
  const layout = t.layout ?? layoutOf(dims);
  const modelChannels = dims.length === 4 ? numberAt(dims, layout === 'NCHW' ? 1 : 3) : undefined;
  const color = t.color ?? (modelChannels === 1 ? 'grey' : 'RGB');
  const type = t.dtype ?? input.type;
  const finish = finisher(t, layout, color === 'BGR', type);
  const mode = t.resize_mode ?? 'bilinear';
  const checked = (image: Pixels | undefined, name: string): Pixels => {
    if (image) return image;
    throw dataError('only 8-bit images can be resized the Pillow way', name, 'Use resize_mode: half_pixel.');
  };
  const whole = (image: Pixels, name: string): Pixels =>
    checked(t.letterbox === undefined ? resized(image, ...resizedSize(t.resize, image.width, image.height), mode) : letterbox(image, sides(t.letterbox), mode), name); // prettier-ignore
  const fitting = (name: string): Fitting => ({
    size({ width, height }) {
      const exact = t.center_crop ?? t.letterbox;
      return exact === undefined ? resizedSize(t.resize, width, height) : [sides(exact)[1], sides(exact)[0]];
    },
    whole: (image) => whole(image, name),
    middle: (image) => cropBox(t, image, name),
    exactly: (image, width, height) => checked(resized(image, width, height, mode), name),
  });
  return (pixels, name, over, change) => {
    let image = pixels;
    if (color === 'grey' && image.channels !== 1) {
      if (!(image.data instanceof Uint8Array))
        throw dataError(`${image.channels} channels of numbers that are not 8 bits cannot become grey`, name);
      image = toGrey(image as Pixels<Uint8Array>);
    }
    if (change === undefined) {
      image = whole(image, name);
      return finish(image, cropBox(t, image, name), name, over);
    }
    image = change(image, fitting(name), name);
    return finish(image, [0, 0, image.width, image.height], name, over);
  };
}

/** Crop, arithmetic, layout and element type in one loop; 8-bit values go through a table of 256 results a channel. */
function finisher(
  t: Transforms,
  layout: 'NCHW' | 'NHWC',
  reversed: boolean,
  type: DType,
): (image: Pixels, box: Box, name: string, over?: Tensor['data']) => Tensor {
  const steps = [0, 1, 2, 3].map((channel) => arithmetic(t, channel));
  const all = Float32Array.from({ length: 256 }, (_, v) => v);
  let tables: readonly ArrayLike<number>[] | undefined;
  const lists = ([t.offset, t.mean, t.std] as const).filter((v) => typeof v === 'object').map((v) => v.length);
  const make = dtypes[type].array as Float32ArrayConstructor;
  return (image, [x0, y0, width, height], name, over) => {
    const { channels, data } = image;
    const wrong = lists.find((n) => n !== 1 && n !== channels);
    if (wrong !== undefined || channels > 4)
      throw dataError(`${wrong ?? 4} values of mean, std or offset for an image of ${channels} channels`, name);
    const count = width * height * channels;
    const bytes = data instanceof Uint8Array;
    if (bytes) tables ??= steps.map((step) => cast(all.map(step), 'float32', type, name) as Float32Array);
    const fits = bytes && over instanceof make && over.length === count;
    const out = fits ? over : bytes ? new make(count) : new Float32Array(count);
    for (let c = 0; c < channels; c++) {
      const table = tables?.[c];
      const step = steps[c]!;
      let o = layout === 'NCHW' ? c * width * height : c;
      const stride = layout === 'NCHW' ? 1 : channels;
      const from = reversed ? channels - 1 - c : c;
      for (let y = 0; y < height; y++) {
        let s = ((y0 + y) * image.width + x0) * channels + from;
        if (bytes) for (let x = 0; x < width; x++, s += channels, o += stride) out[o] = table![data[s]!]!;
        else for (let x = 0; x < width; x++, s += channels, o += stride) out[o] = step(data[s]!);
      }
    }
    const dims = layout === 'NCHW' ? [1, channels, height, width] : [1, height, width, channels];
    return { type, dims, data: bytes ? out : cast(out, 'float32', type, name) };
  };
}

function cropBox({ center_crop: crop, crop_rounding: rounding }: Transforms, image: Pixels, name: string): Box {
  if (crop === undefined) return [0, 0, image.width, image.height];
  const [height, width] = sides(crop);
  if (height > image.height || width > image.width)
    throw dataError(`an image of ${image.width}x${image.height} is smaller than center_crop ${width}x${height}`, name, 'Add `resize` (it comes before the crop), or crop less.'); // prettier-ignore
  const round = rounding === 'floor' ? Math.floor : roundHalfEven;
  return [round((image.width - width) / 2), round((image.height - height) / 2), width, height];
}

/** How an image lies in an array of this shape; undefined where it is not clear. */
export function storedAs(dims: readonly number[]): Transforms['stored'] {
  if (dims.length === 2) return 'HW';
  if (dims.length !== 3 || isChannels(dims[0]) === isChannels(dims[2])) return undefined;
  return isChannels(dims[0]) ? 'CHW' : 'HWC';
}

/** The image in one row of an array. @throws QtoolError where it is not clear how it lies there. */
export function pixelsOf(data: PixelData, dims: readonly number[], stored: Transforms['stored'], name: string): Pixels {
  const lies = stored ?? storedAs(dims);
  if (lies === undefined || lies.length !== dims.length)
    throw dataError(`an array of shape [${dims.join(', ')}] a sample is not an image ${lies ?? 'for certain'}`, name, 'Set transforms.stored to HWC, CHW or HW, or leave the image transforms out.'); // prettier-ignore
  const along = (axis: string): number => dims[lies.indexOf(axis)] ?? 1;
  const [height, width, channels] = [along('H'), along('W'), along('C')];
  if (lies !== 'CHW' || channels === 1) return { width, height, channels, data };
  const out = data.slice();
  const plane = width * height;
  for (let c = 0, s = 0; c < channels; c++) for (let i = 0; i < plane; i++) out[i * channels + c] = data[s++]!;
  return { width, height, channels, data: out };
}

/**
 * A sample (`dims` begins with 1) in the shape that the model wants, where nothing but axes of size 1 or a flattening is between
 * them: as one row of a batch where samples are joined (`joins`), else as the whole input (a state `[2, 1, 128]`, a scalar, a sequence `[time, 1, width]`).
 */
export function reshapeFor(tensor: Tensor, wanted: Dims | undefined, joins: boolean): Tensor {
  if (wanted === undefined || fits(tensor.dims, wanted, joins)) return tensor;
  const row = wanted.map((dim, axis) => (axis === 0 ? 1 : dim));
  const whole = wanted.map((dim) => (typeof dim === 'number' ? dim : 1));
  for (const dims of joins ? [row, whole] : [whole]) if (sameBut1(dims, tensor.dims)) return { ...tensor, dims };
  const own = tensor.dims.slice(1);
  return fits(own, wanted, false) ? { ...tensor, dims: own } : tensor;
}

/** Whether a tensor of these dims can be fed: one row of a batch where `joins`, else the whole input. */
export function fits(dims: readonly number[], wanted: Dims, joins: boolean): boolean {
  if (dims.length !== wanted.length) return false;
  return wanted.every((dim, axis) => typeof dim === 'string' || dim === dims[axis] || (joins && axis === 0 && dims[0] === 1)); // prettier-ignore
}

function sameBut1(wanted: Dims, dims: readonly number[]): wanted is readonly number[] {
  if (!wanted.every((dim) => typeof dim === 'number') || elementCount(wanted) !== elementCount(dims)) return false;
  const core = (shape: readonly number[]): readonly number[] => shape.filter((dim) => dim !== 1);
  const [want, have] = [core(wanted), core(dims)];
  return want.length <= 1 || want.join() === have.join();
}
