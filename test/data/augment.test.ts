import { augmentSchema, chanceFor, imageChange, type Augment } from '../../src/data/augment.ts';
import { memoryConfig } from '../../src/data/memory.ts';
import { parseDataConfig } from '../../src/data/config.ts';
import { cutOut, withColour, type Colour } from '../../src/data/image_change.ts';
import { openData } from '../../src/data/open.ts';
import type { Pixels } from '../../src/data/pixels.ts';
import { compileTransforms, type Transforms } from '../../src/data/transforms.ts';
import type { Sample } from '../../src/data/types.ts';
import type { ModelInput } from '../../src/graph/query.ts';
import fc from '../helpers/fc.ts';
import { failure, floatInput, numbers, pattern, samplesOf, temporaryFolder } from './support.ts';

const folder = temporaryFolder();
const imageOf = (width: number, height: number, channels = 3): Pixels<Uint8Array> => ({ width, height, channels, data: pattern(width * height * channels) }); // prettier-ignore
/** A pixel of an image, 0 outside of it. */
const at = ({ width, height, channels, data }: Pixels, x: number, y: number, c: number): number =>
  x < 0 || y < 0 || x >= width || y >= height ? 0 : data[(y * width + x) * channels + c]!;

describe('a cut-out', () => {
  const side = fc.integer({ min: 1, max: 6 });
  const place = fc.integer({ min: -7, max: 7 });

  it('is what brute force says, over the edges and mirrored too', () => {
    fc.assert(
      fc.property(side, side, fc.constantFrom(1, 3), place, place, side, side, fc.boolean(), (w, h, channels, x0, y0, width, height, flips) => {
        const image = imageOf(w, h, channels);
        const wanted: number[] = [];
        for (let y = 0; y < height; y++)
          for (let x = 0; x < width; x++)
            for (let c = 0; c < channels; c++) wanted.push(at(image, x0 + (flips ? width - 1 - x : x), y0 + y, c));
        expect([...cutOut(image, [x0, y0, width, height], flips).data]).toEqual(wanted);
      }),
    ); // prettier-ignore
  });

  it('mirrored twice is the image', () => {
    fc.assert(
      fc.property(side, side, (w, h) => {
        const image = imageOf(w, h);
        expect(cutOut(cutOut(image, [0, 0, w, h], true), [0, 0, w, h], true)).toEqual(image);
      }),
    );
  });
});

/** What ImageEnhance.Brightness, Contrast and Color of Pillow 13 made of `pattern(36)` as an RGB image of 4x3. */
const pillow: Readonly<Record<string, readonly number[]>> = {
  'brightness 0.3': [
    0, 11, 22, 33, 48, 59, 71, 6, 21, 32, 44, 56, 71, 6, 18, 31, 46, 59, 71, 7, 23, 35, 48, 61, 0, 13, 26, 39, 56, 69,
    5, 19, 36, 49, 63, 0,
  ],
  'brightness 1.45': [
    0, 53, 107, 162, 233, 255, 255, 29, 101, 158, 214, 255, 255, 33, 91, 150, 226, 255, 255, 34, 111, 172, 233, 255, 2,
    65, 127, 191, 255, 255, 27, 92, 174, 239, 255, 0,
  ],
  'contrast 0.3': [
    78, 89, 100, 112, 126, 138, 149, 84, 99, 111, 122, 134, 150, 85, 97, 109, 125, 137, 149, 85, 101, 114, 126, 139, 79,
    91, 104, 118, 134, 147, 84, 97, 114, 127, 141, 78,
  ],
  'contrast 1.45': [
    0, 3, 56, 112, 183, 238, 255, 0, 51, 107, 164, 222, 255, 0, 40, 100, 175, 235, 255, 0, 61, 122, 183, 245, 0, 14, 77,
    141, 220, 255, 0, 42, 123, 188, 254, 0,
  ],
  'saturation 0.3': [
    21, 32, 43, 139, 154, 165, 134, 69, 84, 131, 143, 155, 136, 71, 83, 132, 148, 160, 137, 73, 88, 142, 155, 168, 26,
    39, 52, 162, 179, 192, 45, 59, 75, 170, 184, 121,
  ],
  'saturation 1.45': [
    0, 40, 93, 94, 165, 220, 255, 0, 60, 94, 151, 209, 255, 0, 49, 85, 160, 220, 255, 0, 69, 103, 164, 226, 0, 48, 110,
    112, 191, 255, 1, 67, 148, 161, 226, 0,
  ],
};

it.each(Object.keys(pillow))('colour is Pillow, bit for bit: %s', (key) => {
  const [what, factor] = key.split(' ') as [Colour, string];
  expect([...withColour(imageOf(4, 3), what, Number(factor), 'x').data]).toEqual(pillow[key]);
});

it('colour leaves one channel its saturation, and refuses other numbers than bytes', async () => {
  const grey = imageOf(2, 2, 1);
  expect(withColour(grey, 'saturation', 0.2, 'x')).toBe(grey);
  const floats = { ...grey, data: Float32Array.from(grey.data) };
  expect(await failure(() => withColour(floats, 'contrast', 0.2, 'a.npy#3'))).toMatch(/a\.npy#3 color_jitter changes 8-bit images.*\(Leave color_jitter out/); // prettier-ignore
});

describe('an image on its way to the model', () => {
  const through = (augment: Augment, transforms: Transforms, image: Pixels, sample: number): number[] => {
    const apply = compileTransforms(transforms, floatInput('x', 'N', 3, 'H', 'W'));
    const change = imageChange(augment)!(chanceFor('image', 1, 0, sample));
    return Array.from(apply(image, 'x', undefined, change).data as Float32Array);
  };

  it('is normalized after the padding: what lies outside is black', () => {
    const image = imageOf(3, 3);
    const seen = new Set<string>();
    for (let sample = 0; sample < 300; sample++) {
      const found = through({ random_crop: { padding: 1 } }, { mean: 100 }, image, sample);
      // The place shows by brute force: one of nine.
      const places = [-1, 0, 1].flatMap((y0) => [-1, 0, 1].map((x0) => [x0, y0] as const));
      const fits = places.filter(([x0, y0]) => found.every((value, i) => value === at(image, x0 + (i % 3), y0 + (Math.trunc(i / 3) % 3), Math.trunc(i / 9)) - 100)); // prettier-ignore
      expect(fits).toHaveLength(1);
      seen.add(String(fits[0]));
    }
    expect(seen.size).toBe(9);
  });

  it('is cropped from the resized image in place of its middle, to the size of that', () => {
    const image = imageOf(8, 8);
    const starts = new Set<number>();
    for (let sample = 0; sample < 100; sample++) {
      const found = through({ random_crop: {} }, { center_crop: 7 }, image, sample);
      expect(found).toHaveLength(147);
      starts.add(found[0]!);
    }
    expect(starts.size).toBe(4);
  });

  it('is mirrored as often as is asked', () => {
    const image = imageOf(4, 4);
    const own = through({ horizontal_flip: 1e-9 }, {}, image, 0);
    const count = 400;
    const flips = Array.from({ length: count }, (_, i) => through({ horizontal_flip: 0.25 }, {}, image, i)).filter((one) => String(one) !== String(own)).length; // prettier-ignore
    // Five standard errors of a share of 0.25 in 400.
    expect(Math.abs(flips / count - 0.25)).toBeLessThan(5 * Math.sqrt((0.25 * 0.75) / count));
  });

  it('is resized from a part of the area and shape asked for', () => {
    // Brightness of a pixel is its column: what is left of a part shows its width.
    const data = Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => Math.trunc(i / 3) % 64);
    const image = { width: 64, height: 64, channels: 3, data };
    const widths = Array.from({ length: 100 }, (_, sample) => {
      const found = through({ resized_crop: { scale: [0.25, 0.25], ratio: [1, 1] } }, {}, image, sample);
      expect(found).toHaveLength(64 * 64 * 3);
      return Math.max(...found) - Math.min(...found) + 1;
    });
    // A quarter of the area as a square: half a side.
    expect(new Set(widths)).toEqual(new Set([32]));
    const whole = through({ resized_crop: { scale: [1, 1], ratio: [1, 1] } }, { resize: [16, 16] }, image, 0);
    expect(whole).toEqual(Array.from(compileTransforms({ resize: [16, 16] }, floatInput('x', 'N', 3, 16, 16))(image, 'x').data as Float32Array)); // prettier-ignore
  });

  it('says where the crop does not fit', async () => {
    const run = () =>
      through({ random_crop: { padding: 1 } }, { resize: [4, 4], center_crop: [4, 9] }, imageOf(4, 4), 0);
    expect(await failure(run)).toMatch(/x random_crop: an image of 4x4 with a padding of 1 is smaller than 9x4 \(Add `resize`/); // prettier-ignore
  });
});

describe('arrays and finished tensors', () => {
  const idx = (dims: number[], bytes: Uint8Array): Uint8Array =>
    Uint8Array.of(0, 0, 8, dims.length, ...dims.flatMap((d) => [0, 0, 0, d]), ...bytes);
  const validation = 'validation: { kind: random }';
  const flip: Augment = { horizontal_flip: 1 };

  async function epoch(input: ModelInput, text: string, augment?: Augment): Promise<Sample[]> {
    const config = parseDataConfig(`${text}\n${validation}`, `${folder.path}/d.yaml`);
    const { training } = await openData(config, [input], { training: true });
    return samplesOf(training!.epoch(0, { seed: 1, augment }));
  }

  it.each([
    ['grey rows', [3, 2, 3], ['N', 1, 2, 3], '', (i: number) => 3 * Math.trunc(i / 3) + 2 - (i % 3)],
    ['grey rows that are flattened', [3, 2, 3], ['N', 6], 'transforms: { scale: 2 }', (i: number) => 3 * Math.trunc(i / 3) + 2 - (i % 3)], // prettier-ignore
    ['planes', [3, 3, 2, 2], ['N', 3, 2, 2], '', (i: number) => i ^ 1],
    ['planes, normalized a channel', [3, 3, 2, 2], ['N', 3, 2, 2], 'transforms: { mean: [0, 0, 0] }', (i: number) => i ^ 1], // prettier-ignore
    ['pixels', [3, 2, 2, 3], ['N', 2, 2, 3], '', (i: number) => 6 * Math.trunc(i / 6) + 3 * (1 - (Math.trunc(i / 3) % 2)) + (i % 3)], // prettier-ignore
  ])('mirrors %s as they lie', async (_, dims, input, transforms, mirrored) => {
    folder.write('m.idx', idx(dims, pattern(dims.reduce((a, b) => a * b))));
    const text = `training: { kind: idx, path: m.idx }\n${transforms}`;
    const [own, changed] = [await epoch(floatInput('x', ...input), text), await epoch(floatInput('x', ...input), text, flip)]; // prettier-ignore
    expect(own).toHaveLength(3);
    for (const [k, sample] of own.entries()) {
      const values = numbers(sample, 'x');
      expect(numbers(changed[k], 'x')).toEqual(values.map((__, i) => values[mirrored(i)]));
      expect(changed[k]!.feeds['x']!.dims).toEqual(sample.feeds['x']!.dims);
    }
  });

  const given = async (input: ModelInput, dims: readonly number[], augment: Augment): Promise<Sample[]> => {
    const length = dims.reduce((a, b) => a * b);
    const sample = (k: number) => ({ feeds: { x: { dims, data: Float32Array.from({ length }, (_, i) => i + 1 + k) } }, label: k }); // prettier-ignore
    const sets = { calibration: [sample(0)], validation: [sample(0)], training: [sample(0), sample(1)] };
    const { training } = await openData(memoryConfig(sets), [input], { training: true });
    const made = await samplesOf(training!.epoch(0, { seed: 1, augment }));
    // Not in place: the tensors are the caller's.
    expect(sets.training[0]!.feeds.x.data[0]).toBe(1);
    return made;
  };

  it('mirrors finished tensors along their width', async () => {
    const made = await given(floatInput('x', 'N', 1, 2, 3), [1, 1, 2, 3], flip);
    const first = made.find(({ target }) => target!.label![0] === 0);
    expect(numbers(first, 'x')).toEqual([3, 2, 1, 6, 5, 4]);
  });

  it.each([
    ['planes', ['N', 3, 16, 8], [1, 3, 16, 8], (i: number) => [Math.trunc(i / 128), i % 128] as const],
    ['pixels', ['N', 16, 8, 3], [1, 16, 8, 3], (i: number) => [i % 3, Math.trunc(i / 3)] as const],
  ])('erases one rectangle of all channels of %s', async (_, input, dims, split) => {
    const options = { random_erasing: { probability: 1, scale: [0.1, 0.3] } } satisfies Augment;
    for (const sample of await given(floatInput('x', ...input), dims, options)) {
      const gone = numbers(sample, 'x').flatMap((value, i) => (value === 0 ? [split(i)] : []));
      const places = [0, 1, 2].map((channel) => gone.filter(([c]) => c === channel).map(([, place]) => place));
      expect(places[1]).toEqual(places[0]);
      expect(places[2]).toEqual(places[0]);
      const [xs, ys] = [new Set(places[0]!.map((p) => p % 8)), new Set(places[0]!.map((p) => Math.trunc(p / 8)))];
      expect(places[0]!.length).toBe(xs.size * ys.size);
      // Of 128 pixels a share of 0.1 to 0.3, both sides rounded.
      expect(places[0]!.length).toBeGreaterThan(6);
      expect(places[0]!.length).toBeLessThan(52);
    }
  });

  it.each<[string, Augment, readonly number[], RegExp]>([
    ['colour', { color_jitter: { brightness: 0.5 } }, [1, 1, 2, 2], /color_jitter changes 8-bit images/],
    ['erasing', { random_erasing: {} }, [1, 4], /random_erasing changes images, and no input has the four axes of one: x \[1, 4\]/], // prettier-ignore
    ['crops', { random_crop: { padding: 1 } }, [1, 4], /augment changes images, and no input has the four axes of one/],
    ['resizing', { resized_crop: { scale: [0.3, 0.3] } }, [1, 1, 8, 8], /resized_crop resizes 8-bit images.*\(Use random_crop/], // prettier-ignore
  ])('refuses %s where it cannot be', async (_, augment, dims, expected) => {
    const input = floatInput('x', 'N', ...dims.slice(1));
    expect(await failure(() => given(input, dims, augment))).toMatch(expected);
  });

  it('refuses to mix whole numbers', async () => {
    const sample = { feeds: { x: { dims: [1, 2], data: Int32Array.of(1, 2) } }, label: 0 };
    const sets = { calibration: [sample], validation: [sample], training: [sample, sample] };
    const { training } = await openData(memoryConfig(sets), [{ name: 'x', type: 'int32', dims: ['N', 2] }], { training: true }); // prettier-ignore
    expect(await failure(() => samplesOf(training!.epoch(0, { seed: 1, augment: { mixup: {} } })))).toMatch(/mixup mixes floats, and the input "x" is int32/); // prettier-ignore
  });
});

it('every option of augment says what it is', () => {
  for (const [key, option] of Object.entries(augmentSchema.shape))
    expect([key, option.description ?? option.unwrap().description]).toEqual([key, expect.stringMatching(/\.$/)]);
});
