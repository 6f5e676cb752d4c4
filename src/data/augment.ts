import * as z from 'zod';
import { seedOf, uniform } from '../util/uniform.ts';
import { dataError } from './errors.ts';
import { cutOut, withColour, type Box, type Colour, type ImageChange } from './image_change.ts';
import type { Pixels } from './pixels.ts';

const share = z.number().min(0).max(1);
const rising = { error: 'the first must not be above the second' };
const sorted = ([low, high]: readonly [number, number]): boolean => low <= high;
const part = z.number().positive().max(1);
const areas = z.tuple([part, part]).refine(sorted, rising);
const ratios = z.tuple([z.number().positive(), z.number().positive()]).refine(sorted, rising);
const factors = z.union([z.number().min(0), z.tuple([z.number().min(0), z.number().min(0)]).refine(sorted, rising)]);

/**
 * `augment:` of a schedule: how training samples are changed by chance. Each step means what torchvision's of that name does
 * (torchvision.transforms), in this order; mixup is H. Zhang et al., mixup: Beyond Empirical Risk Minimization (2018).
 */
export const augmentSchema = z
  .strictObject({
    random_crop: z
      .strictObject({ padding: z.int().min(0).describe('Pixels of 0 on each side before the crop. Default 0.') })
      .partial()
      .describe("A crop of the model's size at a place of chance, instead of the middle."),
    resized_crop: z
      .strictObject({
        scale: areas.describe('Share of the area. Default [0.08, 1].'),
        ratio: ratios.describe('Width by height. Default [3/4, 4/3].'),
      })
      .partial()
      .describe("A part of chance of the image, resized to the model's size: in place of resize and crop."),
    horizontal_flip: z.union([share, z.boolean()]).describe('Probability of mirroring; true: 0.5.'),
    color_jitter: z
      .strictObject({
        brightness: factors.describe('x: a factor from 1 − x to 1 + x; or [lowest, highest]. Default 0: none.'),
        contrast: factors.describe('The same.'),
        saturation: factors.describe('The same.'),
      })
      .partial()
      .describe('Changes colours of 8-bit images, in an order of chance.'),
    random_erasing: z
      .strictObject({
        probability: share.describe('Default 0.5.'),
        scale: areas.describe('Share of the area that is erased. Default [0.02, 0.33].'),
        ratio: ratios.describe('Height by width. Default [0.3, 3.3].'),
      })
      .partial()
      .describe('Sets a rectangle of the normalized image to 0.'),
    mixup: z
      .strictObject({
        alpha: z.number().positive().describe('The share is drawn from Beta(alpha, alpha). Default 0.2.'),
      }) // prettier-ignore
      .partial()
      .describe('Mixes samples and their answers in pairs.'),
  })
  .partial()
  .superRefine(({ random_crop: first, resized_crop: second }, ctx) => {
    if (first && second)
      ctx.addIssue({ code: 'custom', path: ['random_crop'], message: 'stands beside resized_crop: give one of them' });
  });
export type Augment = z.infer<typeof augmentSchema>;

/** Numbers of chance in [0, 1). */
type Chance = () => number;

const between = (chance: Chance, [low, high]: readonly [number, number]): number => low + chance() * (high - low);
/** A whole number from 0 to `highest`. */
const upTo = (chance: Chance, highest: number): number => Math.floor(chance() * (highest + 1));
const logBetween = (chance: Chance, [low, high]: readonly [number, number]): number =>
  Math.exp(between(chance, [Math.log(low), Math.log(high)]));

/** What is drawn for, so that no two draws of a sample share numbers. */
const salts = { image: 1, erase: 2, mix: 3 } as const;
export const chanceFor = (what: keyof typeof salts, ...of: readonly number[]): Chance =>
  uniform(seedOf(salts[what], ...of));

/** What the steps before normalization make of an image; undefined where there are none. */
export function imageChange(augment: Augment): ((chance: Chance) => ImageChange) | undefined {
  const { random_crop: crop, resized_crop: resizes, horizontal_flip: flip = false, color_jitter: colours = {} } = augment; // prettier-ignore
  const flips = typeof flip === 'number' ? flip : flip ? 0.5 : 0;
  const jitters = (['brightness', 'contrast', 'saturation'] as const).flatMap((what) => {
    const of = colours[what] ?? 0;
    const range = typeof of === 'number' ? ([Math.max(0, 1 - of), 1 + of] as const) : of;
    return of === 0 ? [] : [{ what, range }];
  });
  if (!crop && !resizes && flips === 0 && jitters.length === 0) return undefined;
  return (chance) => (image, fitting, name) => {
    let changed: Pixels;
    if (resizes) {
      const [width, height] = fitting.size(image);
      const box = boxOf(image, resizes.scale ?? [0.08, 1], resizes.ratio ?? [3 / 4, 4 / 3], chance);
      changed = mirrored(fitting.exactly(cutOut(image, box), width, height), chance() < flips);
    } else {
      const whole = fitting.whole(image);
      const box = crop ? placed(whole, fitting.size(image), crop.padding ?? 0, chance, name) : fitting.middle(whole);
      changed = cutOut(whole, box, chance() < flips);
    }
    for (const { what, range } of inAnyOrder(jitters, chance))
      changed = withColour(changed, what satisfies Colour, between(chance, range), name);
    return changed;
  };
}

const mirrored = (image: Pixels, yes: boolean): Pixels =>
  yes ? cutOut(image, [0, 0, image.width, image.height], true) : image;

function inAnyOrder<T>(list: readonly T[], chance: Chance): readonly T[] {
  const left = [...list];
  return list.map(() => left.splice(upTo(chance, left.length - 1), 1)[0]!);
}

/** Where a crop of this size lies in an image with padding round it. */
function placed(
  { width, height }: Pixels,
  [w, h]: readonly [number, number],
  padding: number,
  chance: Chance,
  name: string,
): Box {
  const [free, below] = [width + 2 * padding - w, height + 2 * padding - h];
  if (free < 0 || below < 0)
    throw dataError(`random_crop: an image of ${width}x${height} with a padding of ${padding} is smaller than ${w}x${h}`, name, 'Add `resize` to the transforms, or more padding.'); // prettier-ignore
  return [upTo(chance, free) - padding, upTo(chance, below) - padding, w, h];
}

/** How often a rectangle is drawn that does not fit, before it is given up. */
const attempts = 10;

function boxOf(
  { width, height }: Pixels,
  scale: readonly [number, number],
  ratio: readonly [number, number],
  chance: Chance,
): Box {
  for (let i = 0; i < attempts; i++) {
    const area = width * height * between(chance, scale);
    const aspect = logBetween(chance, ratio);
    const [w, h] = [Math.round(Math.sqrt(area * aspect)), Math.round(Math.sqrt(area / aspect))];
    if (w > 0 && h > 0 && w <= width && h <= height) return [upTo(chance, width - w), upTo(chance, height - h), w, h];
  }
  // The middle, in the nearest of the shapes allowed.
  const own = width / height;
  const w = own > ratio[1] ? Math.min(width, Math.max(1, Math.round(height * ratio[1]))) : width;
  const h = own < ratio[0] ? Math.min(height, Math.max(1, Math.round(width / ratio[0]))) : height;
  return [(width - w) >> 1, (height - h) >> 1, w, h];
}

/** The rectangle that is erased from an image of this size; undefined where none is. */
export function erased(
  { probability = 0.5, scale = [0.02, 0.33], ratio = [0.3, 3.3] }: NonNullable<Augment['random_erasing']>,
  width: number,
  height: number,
  chance: Chance,
): Box | undefined {
  if (chance() >= probability) return undefined;
  for (let i = 0; i < attempts; i++) {
    const area = width * height * between(chance, scale);
    const aspect = logBetween(chance, ratio);
    const [h, w] = [Math.round(Math.sqrt(area * aspect)), Math.round(Math.sqrt(area / aspect))];
    if (w < width && h < height) return [upTo(chance, width - w), upTo(chance, height - h), w, h];
  }
  return undefined;
}

/** A number of Beta(alpha, alpha): g / (g + h) of two of Gamma(alpha). */
export function beta(alpha: number, chance: Chance): number {
  // In logarithms: for small alpha both are often 0 in 64 bits.
  const [g, h] = [logGamma(alpha, chance), logGamma(alpha, chance)];
  return 1 / (1 + Math.exp(h - g));
}

/**
 * The logarithm of a number of Gamma(shape, 1). Source: G. Marsaglia and W. W. Tsang, A Simple Method for Generating Gamma Variables (2000);
 * below 1 by their note Gamma(a) = Gamma(a + 1) U^(1/a).
 */
function logGamma(shape: number, chance: Chance): number {
  if (shape < 1) return logGamma(shape + 1, chance) + Math.log(1 - chance()) / shape;
  const d = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = Math.sqrt(-2 * Math.log(1 - chance())) * Math.cos(2 * Math.PI * chance());
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - chance()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return Math.log(d * v);
  }
}
