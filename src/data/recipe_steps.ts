import type { ModelInput } from '../graph/query.ts';
import { didYouMean } from '../util/suggest.ts';
import { dataError } from './errors.ts';
import { recipeNames, recipes, type Recipe } from './recipes.ts';
import { imageAxes, type Transforms } from './transforms.ts';

/** Below this side a margin would cost more pixels than it has: such inputs take images whole. */
const leastMargin = 128;

/** The input that images feed: the first of rank 4, else the first. */
function imageInput(inputs: readonly ModelInput[]): ModelInput | undefined {
  return inputs.find(({ dims }) => dims?.length === 4) ?? inputs[0];
}

/** Channels, height and width of an input where they are known. Values in rows have one channel. */
function frame(input: ModelInput): { channels?: number; height?: number; width?: number } {
  const { dims } = input;
  if (dims?.length !== 4) return dims === undefined ? {} : { channels: 1 };
  const [channels, height, width] = imageAxes(dims).map((axis) => dims[axis]);
  const known = (key: string, dim: number | string | undefined): object => (typeof dim === 'number' ? { [key]: dim } : {}); // prettier-ignore
  return { ...known('channels', channels), ...known('height', height), ...known('width', width) };
}

const fitsChannels = (recipe: Recipe, input: ModelInput): boolean =>
  recipe.channels.includes(frame(input).channels ?? 3);

/** The recipes that are worth a trial on a model's input. */
export function recipesToTry(inputs: readonly ModelInput[]): Recipe[] {
  const input = imageInput(inputs);
  if (!input) return [];
  const { height, width } = frame(input);
  const whole = !/^(float|bfloat)/.test(input.type);
  return recipes.filter((recipe: Recipe) => {
    const side = Math.min(height ?? recipe.side ?? 224, width ?? recipe.side ?? 224);
    const [least, most] = recipe.tried ?? [Infinity, 0];
    return fitsChannels(recipe, input) && side >= least && side <= most && (!whole || recipe.name === '0..255');
  });
}

/**
 * The transforms of a recipe for a model: size and layout are those of its input.
 * @throws QtoolError `data` for a name that is none, and a recipe for another number of channels.
 */
export function recipeTransforms(name: string, inputs: readonly ModelInput[], at?: string): Transforms {
  const recipe: Recipe | undefined = recipes.find((known) => known.name === name);
  if (!recipe) throw dataError(`there is no preprocessing "${name}"${didYouMean(name, recipeNames)}`, at, `Known are: ${recipeNames.join(', ')}.`); // prettier-ignore
  const input = imageInput(inputs);
  if (!input) return recipe.steps;
  const { channels, height = recipe.side, width = recipe.side } = frame(input);
  if (!fitsChannels(recipe, input)) {
    const fitting = recipes.filter((known) => fitsChannels(known, input)).map((known) => known.name);
    throw dataError(`the preprocessing ${name} is for images of ${recipe.channels.join(' or ')} channels, the model input "${input.name}" has ${channels}`, at, `That fit: ${fitting.join(', ') || 'none; write `transforms` instead'}.`); // prettier-ignore
  }
  if (input.dims?.length !== 4 || height === undefined || width === undefined) return recipe.steps;
  return { ...geometry(recipe.fit, height, width), ...recipe.steps };
}

function geometry(fit: Recipe['fit'], height: number, width: number): Transforms {
  const size: [number, number] = [height, width];
  if (fit === 'letterbox') return { letterbox: size };
  if (height !== width) return { resize: size };
  // As 256 is to 224.
  const resize = fit === 'margin' && height >= leastMargin ? Math.floor((height * 8) / 7) : height;
  return { resize, center_crop: size };
}
