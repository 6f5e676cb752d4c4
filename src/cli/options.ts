import { InvalidArgumentError, Option, type Command } from 'commander';
import { recipeNames } from '../data/recipes.ts';

/** Option values that are checked where they are read, so that the message names the option. */

function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isSafeInteger(value) || value < least)
      throw new InvalidArgumentError(`It must be a whole number of at least ${least}.`);
    return value;
  };
}

/** The options that every command takes. */
export function withCommon(command: Command): Command {
  return command
    .addOption(new Option('--json', 'print one JSON object on stdout and nothing else there').helpGroup('Output:'))
    .addOption(new Option('--quiet', 'no progress on stderr').helpGroup('Output:'))
    .addOption(new Option('--color', 'colours even where there is no terminal').helpGroup('Output:'))
    .addOption(new Option('--no-color', 'no colours (as NO_COLOR=1)').helpGroup('Output:').default(undefined));
}

/** Where samples come from and how many are used, for every command that runs a model on data. */
export function withData(command: Command, required: boolean): Command {
  return withPreprocessing(withSamples(command, required));
}

/** How images become the model's input, for every command that takes data. Each flag goes before that step of the recipe and the data config. */
export function withPreprocessing(command: Command): Command {
  const group = 'Preprocessing:';
  const list = '<numbers>';
  return command
    .addOption(new Option('--preprocess <name>', 'how images become the input').choices(recipeNames).helpGroup(group))
    .addOption(
      new Option('--scale <number>', 'multiplies the values 0 to 255, such as 1/255').argParser(scale).helpGroup(group),
    ) // prettier-ignore
    .addOption(
      new Option(`--mean ${list}`, 'subtracted after that, one or one a channel: 0.5 or 0.4,0.5,0.6')
        .argParser(numbers(true))
        .helpGroup(group),
    ) // prettier-ignore
    .addOption(
      new Option(`--std ${list}`, 'divides after that, one or one a channel')
        .argParser(numbers(false))
        .helpGroup(group),
    ) // prettier-ignore
    .addOption(
      new Option('--layout <axes>', "axes of the input (default: as the model's shape says)")
        .choices(['NCHW', 'NHWC'])
        .helpGroup(group),
    ) // prettier-ignore
    .addOption(new Option('--resize <size>', 'the shorter side, or HEIGHTxWIDTH').argParser(sizeOf).helpGroup(group));
}

/** @throws InvalidArgumentError with what it must be. */
function scale(text: string): string | number {
  const [above, below = 1, ...more] = text.split('/').map((part) => (part.trim() === '' ? NaN : Number(part)));
  if (more.length === 0 && Number.isFinite(above) && Number.isFinite(above! / below)) return text.includes('/') ? text : Number(text); // prettier-ignore
  throw new InvalidArgumentError('It must be a number or a fraction such as 1/255.');
}

const numbers =
  (zero: boolean) =>
  (text: string): number[] => {
    const values = text.split(',').map((part) => (part.trim() === '' ? NaN : Number(part)));
    if (values.every((value) => Number.isFinite(value) && (zero || value !== 0))) return values;
    throw new InvalidArgumentError(`It must be one number or one a channel${zero ? '' : ', none of them 0'}, such as 0.5 or 0.4,0.5,0.6.`); // prettier-ignore
  };

function sizeOf(text: string): number | [number, number] {
  const [height, width, ...more] = text.split(/[x,]/).map((part) => (/^\s*\d+\s*$/.test(part) ? Number(part) : 0));
  if (more.length > 0 || !height || width === 0) throw new InvalidArgumentError('It must be a number of pixels, such as 256, or a height and a width, such as 240x320.'); // prettier-ignore
  return width === undefined ? height : [height, width];
}

function withSamples(command: Command, required: boolean): Command {
  const data = new Option('--data <config or folder>', 'a YAML file under configs/, or a folder of data').helpGroup(
    'Data:',
  );
  return command
    .addOption(required ? data.makeOptionMandatory() : data)
    .addOption(new Option('--data-root <folder>', 'where relative paths in the data config start').helpGroup('Data:'))
    .addOption(new Option('--allow-modules', 'run modules that the schedule or data config names').helpGroup('Data:'))
    .addOption(numberOption('--limit <n>', 'validate on the first n samples only', 1, 'Data:'))
    .addOption(numberOption('--batch-size <n>', 'samples a run takes', 1, 'Data:'))
    .addOption(numberOption('--seed <n>', 'for everything drawn at random (default: 0)', 0, 'Data:'))
    .addOption(numberOption('--threads <n>', 'threads within one operator (default: all cores)', 1, 'Data:'));
}

export function numberOption(flags: string, description: string, least: number, group?: string): Option {
  const option = new Option(flags, description).argParser(wholeNumber(least));
  return group === undefined ? option : option.helpGroup(group);
}
