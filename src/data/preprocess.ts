import type { ModelInput } from '../graph/query.ts';
import type { DataConfig, SourceConfig } from './config.ts';
import { dataError } from './errors.ts';
import { recipesToTry, recipeTransforms } from './recipe_steps.ts';
import { recipeNames, type Recipe } from './recipes.ts';
import { isMadeElsewhere, type Source } from './source.ts';
import type { Sets } from './split.ts';
import type { Transforms } from './transforms.ts';
import type { QtoolError } from '../util/error.ts';

/** Images that nothing says the preprocessing of. */
export interface Question {
  /** The recipes that fit the model's input, the plainest first. */
  readonly recipes: readonly Recipe[];
  readonly labelled: boolean;
  /** What is said where nothing can be decided. */
  readonly refusal: QtoolError;
  /** The data, for messages. */
  readonly at: string;
  /** The data as a recipe makes it: the same samples in the same order whichever it is. */
  open(recipe: string): Promise<Pick<Sets, 'calibration' | 'validation'>>;
}

/** Chooses a recipe by what the model makes of it, which this layer cannot run. @throws QtoolError where none is clearly right. */
export type Decide = (question: Question) => Promise<{ readonly recipe: string; readonly notes: readonly string[] }>;

interface Given {
  readonly preprocess?: string | undefined;
  readonly transforms?: Transforms | undefined;
}

const arithmetic = ['scale', 'offset', 'mean', 'std'] as const;

/** Whether steps say what becomes of the values, not only of size and layout. */
export const hasArithmetic = (steps: Transforms = {}): boolean => arithmetic.some((key) => steps[key] !== undefined);

/** Whether what is subtracted and divided by leaves open what values are meant. */
const withinOne = ({ mean, std, offset }: Transforms = {}): boolean =>
  [mean, std, offset].flatMap((one) => one ?? []).every((one) => Math.abs(Number(one)) <= 1);

const isEmpty = (steps: Transforms | undefined): boolean => Object.keys(steps ?? {}).length === 0;
const own = (source: SourceConfig): Transforms | undefined => ('transforms' in source ? source.transforms : undefined);
const isImages = ({ kind }: SourceConfig): boolean => kind === 'image-folder' || kind === 'manifest';

/**
 * The steps of a source: those given on the command line, over those of the source, of the file, and of the recipe. A recipe on the
 * command line replaces the file's steps, but not how arrays lie in it.
 */
export function transformsFor(
  { value, at, guessed }: DataConfig,
  source: SourceConfig,
  inputs: readonly ModelInput[],
  { preprocess, transforms }: Given,
): Transforms {
  if (isMadeElsewhere(source.kind) && (preprocess !== undefined || !isEmpty(transforms)))
    throw dataError(`data of kind ${source.kind} are tensors already: there is nothing to preprocess`, at([]), 'Leave out --preprocess, --scale, --mean, --std, --layout and --resize.'); // prettier-ignore
  const written: Transforms = { ...value.transforms, ...own(source) };
  if (preprocess !== undefined) {
    const { stored, layout, dtype } = written;
    const kept = Object.fromEntries(Object.entries({ stored, layout, dtype }).filter(([, v]) => v !== undefined));
    return given({ ...recipeTransforms(preprocess, inputs), ...kept }, transforms);
  }
  const fromFile = value.preprocess;
  // Images that are described by single flags still have to come to the model's size.
  const plain = fromFile === undefined && isEmpty(written) && hasArithmetic(transforms);
  if (plain && (guessed === true || isImages(source)) && transforms?.scale === undefined && withinOne(transforms))
    throw dataError('--mean and --std within 1 say nothing of the scale: pixels are 0 to 255', at([]), 'Add --scale 1/255 where the model was trained on 0 to 1, or --scale 1.'); // prettier-ignore
  const recipe = fromFile ?? (plain && (guessed === true || isImages(source)) ? '0..255' : undefined);
  const base = recipe === undefined ? {} : recipeTransforms(recipe, inputs, at(['preprocess'], 'value'));
  return given({ ...base, ...written }, transforms);
}

/** Steps with others over them; how an image comes to its size is said in one way. */
function given(steps: Transforms, over: Transforms = {}): Transforms {
  if (over.resize === undefined) return { ...steps, ...over };
  const { letterbox: _, ...others } = steps;
  return { ...others, ...over };
}

/**
 * Whether a source without a recipe is of images that nothing describes. Arrays in a config without transforms are described: they are fed as
 * they are (docs/data.md).
 */
export function undecided({ value, guessed }: DataConfig, source: SourceConfig, { pixels, kind }: Source): boolean {
  if (pixels !== true || (guessed !== true && (kind === 'idx' || kind === 'npy'))) return false;
  const columns = 'inputs' in source && source.kind !== 'random' ? Object.values(source.inputs ?? {}) : [];
  const each = columns.map((column) => (typeof column === 'string' ? undefined : column.transforms));
  return [value.transforms, own(source), ...each].every(isEmpty);
}

/** What is said of images without preprocessing where it cannot be found by trial. */
export function undecidedError(config: DataConfig, inputs: readonly ModelInput[], labelled: boolean): QtoolError {
  const why = labelled ? '' : ', and without labels it cannot be found by trial';
  const fitting = recipesToTry(inputs).map(({ name }) => name);
  const others = recipeNames.filter((name) => !fitting.includes(name));
  return dataError(
    `nothing says how these images become the model's input${why}`,
    config.file,
    `Say it with --preprocess <name>: ${fitting.join(', ')} (also ${others.join(', ')}), as the model was trained; or with \`preprocess\` or \`transforms\` in a data config.`,
  );
}
