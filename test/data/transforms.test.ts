import {
  compileTransforms,
  pixelsOf,
  reshapeFor,
  resizedSize,
  scaleOf,
  type Transforms,
} from '../../src/data/transforms.ts';
import { failure, pattern } from './support.ts';

const rgb = (width: number, height: number) => ({ width, height, channels: 3, data: pattern(width * height * 3) });
const model = (...dims: (number | string)[]) => ({ type: 'float32' as const, dims });
const apply = (t: Transforms, dims: readonly (number | string)[], image = rgb(2, 2)) => compileTransforms(t, model(...dims))(image, 'x'); // prettier-ignore
const list = ({ data }: { data: ArrayLike<unknown> | readonly string[] }): number[] =>
  Array.from(data as ArrayLike<number>);

describe('compileTransforms', () => {
  // pattern: 0 37 74 | 112 161 199 | 237 20 70 | 109 148 188
  it('puts channels apart for NCHW and leaves them together for NHWC', () => {
    expect(apply({}, ['N', 3, 2, 2])).toMatchObject({ type: 'float32', dims: [1, 3, 2, 2] });
    expect(list(apply({}, ['N', 3, 2, 2]))).toEqual([0, 112, 237, 109, 37, 161, 20, 148, 74, 199, 70, 188]);
    expect(apply({ layout: 'NHWC' }, ['N', 2, 2, 3]).dims).toEqual([1, 2, 2, 3]);
    expect(list(apply({ layout: 'NHWC' }, ['N', 2, 2, 3]))).toEqual([0, 37, 74, 112, 161, 199, 237, 20, 70, 109, 148, 188]); // prettier-ignore
  });

  it("reads the layout and grey off the model's input where they are not said", () => {
    expect(apply({}, ['N', 2, 2, 3]).dims).toEqual([1, 2, 2, 3]);
    expect(apply({}, ['N', 'C', 'H', 'W']).dims).toEqual([1, 3, 2, 2]);
    // 0.299 · 0 + 0.587 · 37 + 0.114 · 74 = 30.2 …
    expect(apply({}, ['N', 1, 2, 2])).toMatchObject({ dims: [1, 1, 2, 2], data: Float32Array.of(30, 151, 91, 141) });
  });

  it('turns BGR around, with mean and std in the order of the model', () => {
    const plain = list(apply({ color: 'BGR' }, ['N', 3, 2, 2]));
    expect(plain.slice(0, 4)).toEqual([74, 199, 70, 188]);
    expect(list(apply({ color: 'BGR', mean: [4, 0, 0], std: [10, 1, 1] }, ['N', 3, 2, 2])).slice(0, 5)).toEqual([7, 19.5, 6.599999904632568, 18.399999618530273, 37]); // prettier-ignore
  });

  it('calculates in the float32 steps of numpy and torch', () => {
    // numpy: (np.float32(v) / 255 - np.float32(0.485)) / np.float32(0.229) for all v; each step rounded to float32.
    const all = { width: 256, height: 1, channels: 1, data: Uint8Array.from({ length: 256 }, (_, v) => v) };
    const { fround } = Math;
    const expected = Array.from({ length: 256 }, (_, v) =>
      fround(fround(fround(v / 255) - fround(0.485)) / fround(0.229)),
    );
    const made = compileTransforms({ color: 'grey', scale: '1/255', mean: 0.485, std: 0.229 }, model('N', 1, 'H', 'W'))(
      all,
      'x',
    );
    expect(list(made)).toEqual(expected);
    // Two values that numpy 2 printed: v = 1 and v = 200.
    expect(expected[1]).toBe(-2.1007792949676514);
    expect(expected[200]).toBe(1.3070467710494995);
  });

  it('scales and offsets to -1..1', () => {
    const made = list(apply({ scale: '1/127.5', offset: -1 }, ['N', 3, 2, 2]));
    expect(made[0]).toBe(-1);
    expect(made[2]).toBe(Math.fround(Math.fround(237 / 127.5) - 1));
  });

  it('gives other element types, and refuses values they cannot hold', async () => {
    expect(apply({ dtype: 'uint8' }, ['N', 3, 2, 2])).toMatchObject({ type: 'uint8', data: Uint8Array.of(0, 112, 237, 109, 37, 161, 20, 148, 74, 199, 70, 188) }); // prettier-ignore
    expect(apply({ dtype: 'int8', offset: -128 }, ['N', 3, 2, 2]).data).toBeInstanceOf(Int8Array);
    expect(list(apply({ dtype: 'float16', scale: 1 / 256 }, ['N', 3, 2, 2])).slice(0, 2)).toEqual([0, 0x3700]);
    expect(await failure(() => apply({ dtype: 'uint8', scale: '1/255' }, ['N', 3, 2, 2]))).toMatch(/holds 0\.0039.*which uint8 cannot hold/); // prettier-ignore
  });

  it('crops the middle, a half to the even pixel or to the first', () => {
    const image = { width: 5, height: 6, channels: 1, data: Uint8Array.from({ length: 30 }, (_, i) => i) };
    const crop = (t: Transforms) =>
      list(compileTransforms({ color: 'grey', ...t }, model('N', 1, 'H', 'W'))(image, 'x'));
    // (6 − 3) / 2 = 1.5 → 2; (5 − 2) / 2 = 1.5 → 2.
    expect(crop({ center_crop: [3, 2] })).toEqual([12, 13, 17, 18, 22, 23]);
    expect(crop({ center_crop: [3, 2], crop_rounding: 'floor' })).toEqual([6, 7, 11, 12, 16, 17]);
    // (6 − 5) / 2 = 0.5 → 0.
    expect(crop({ center_crop: 5 })).toEqual(Array.from({ length: 25 }, (_, i) => i));
  });

  it('says what is too small to crop, and which lists do not fit the channels', async () => {
    expect(await failure(() => apply({ center_crop: 3 }, ['N', 3, 3, 3]))).toMatch(/x an image of 2x2 is smaller than center_crop 3x3 \(Add `resize`/); // prettier-ignore
    expect(await failure(() => apply({ mean: [1, 2] }, ['N', 3, 2, 2]))).toMatch(/2 values of mean, std or offset for an image of 3 channels/); // prettier-ignore
  });

  it('resizes to exact sizes and by the shorter side', () => {
    expect(apply({ resize: [3, 5] }, ['N', 3, 'H', 'W']).dims).toEqual([1, 3, 3, 5]);
    expect(apply({ resize: 3, resize_mode: 'half_pixel' }, ['N', 3, 'H', 'W'], rgb(4, 2)).dims).toEqual([1, 3, 3, 6]);
    // torchvision: the longer side is int(size · long / short).
    expect(resizedSize(256, 500, 375)).toEqual([341, 256]);
    expect(resizedSize(256, 375, 500)).toEqual([256, 341]);
    expect(resizedSize([10, 20], 1, 1)).toEqual([20, 10]);
  });
});

describe('scaleOf', () => {
  it('takes numbers and fractions, each value of 0..255 divided as torch divides', () => {
    expect(scaleOf(undefined)).toBe(1);
    expect(scaleOf(0.5)).toBe(0.5);
    const { fround } = Math;
    for (const below of [255, 127.5, 256])
      for (let v = 0; v < 256; v++) expect(fround(v * scaleOf(`1 / ${below}`))).toBe(fround(v / below));
  });
});

describe('pixelsOf', () => {
  const data = Uint8Array.from({ length: 12 }, (_, i) => i);
  it('knows images in arrays by their channels', () => {
    expect(pixelsOf(data, [3, 4], undefined, 'x')).toMatchObject({ height: 3, width: 4, channels: 1 });
    expect(pixelsOf(data, [2, 2, 3], undefined, 'x')).toMatchObject({ height: 2, width: 2, channels: 3, data });
    expect([...pixelsOf(data, [3, 2, 2], undefined, 'x').data]).toEqual([0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
  });
  it('asks where it is not clear', async () => {
    expect(await failure(() => pixelsOf(data, [3, 4, 1], 'HW', 'x'))).toMatch(/\[3, 4, 1\] a sample is not an image HW \(Set transforms\.stored/); // prettier-ignore
    expect(await failure(() => pixelsOf(data, [3, 2, 3], undefined, 'x'))).toMatch(/not an image for certain/);
  });
});

describe('reshapeFor', () => {
  const tensor = (dims: number[], length: number) => ({
    type: 'float32' as const,
    dims,
    data: new Float32Array(length),
  });
  it('adds axes of size 1 and flattens, and nothing else', () => {
    expect(reshapeFor(tensor([1, 28, 28], 784), ['N', 1, 28, 28], true).dims).toEqual([1, 1, 28, 28]);
    expect(reshapeFor(tensor([1, 1, 28, 28], 784), ['N', 784], true).dims).toEqual([1, 784]);
    expect(reshapeFor(tensor([1, 32, 32, 3], 3072), ['N', 3, 32, 32], true).dims).toEqual([1, 32, 32, 3]);
    expect(reshapeFor(tensor([1, 7], 7), ['N', 8], true).dims).toEqual([1, 7]);
  });
});
