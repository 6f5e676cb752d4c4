import { InvalidArgumentError, Option, type Command } from 'commander';
import { recipeNames } from '../data/recipes.ts';

/** More threads than any machine has cores: onnxruntime would make them all. */
export const mostThreads = 1024;

/** Option values that are checked where they are read, so that the message names the option. */

export function wholeNumber(least: number, most = Infinity): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isSafeInteger(value) || value < least || value > most)
      throw new InvalidArgumentError(`It must be a whole number ${most === Infinity ? `of at least ${least}` : `from ${least} to ${most}`}.`); // prettier-ignore
    return value;
  };
}

/** The options that every command takes. */
export function withCommon(command: Command): Command {
  return command
    .optionsGroup('Output:')
    .option('--json', 'print one JSON object on stdout and nothing else there')
    .option('--quiet', 'no progress on stderr')
    .option('--color', 'colours even where there is no terminal')
    .option('--no-color', 'no colours (as NO_COLOR=1)')
    .optionsGroup('');
}

/** How data becomes the model's input, for every command that takes data. Each flag goes before that step of the recipe and the data config. */
export function withPreprocessing(command: Command): Command {
  const layout = new Option('--layout <axes>', "axes of the input (default: as the model's shape says)");
  return command
    .optionsGroup('Preprocessing:')
    .addOption(new Option('--preprocess <name>', 'how images become the input').choices(recipeNames))
    .option('--scale <number>', 'multiplies the values 0 to 255, such as 1/255', scale)
    .option('--mean <numbers>', 'subtracted after that, one or one a channel: 0.5 or 0.4,0.5,0.6', numbers(true))
    .option('--std <numbers>', 'divides after that, one or one a channel', numbers(false))
    .addOption(layout.choices(['NCHW', 'NHWC']))
    .option('--resize <size>', 'the shorter side, or HEIGHTxWIDTH', sizeOf)
    .option('--dims <sizes>', 'sizes of free axes, such as N=1,T=128, or of an input: x=1x3x48x320', axisSizes)
    .optionsGroup('');
}

/** Sizes by the name of an axis or an input. */
function axisSizes(text: string): Record<string, number | number[]> {
  const entries = text.split(',').map((part): [string, number | number[]] => {
    // Names of axes may hold anything, an equals sign too.
    const cut = part.lastIndexOf('=');
    const [name, size] = [part.slice(0, cut).trim(), part.slice(cut + 1).trim()];
    if (cut < 1 || name === '' || !/^[1-9]\d{0,8}(x\d{1,9})*$/.test(size))
      throw new InvalidArgumentError(`"${part}" is no name and size: such as N=1,T=128, or x=1x3x48x320.`);
    const sizes = size.split('x').map(Number);
    return [name, sizes.length === 1 ? sizes[0]! : sizes];
  });
  const twice = entries.find(([name], i) => entries.findIndex(([other]) => other === name) < i);
  if (twice) throw new InvalidArgumentError(`"${twice[0]}" is given twice.`);
  return Object.fromEntries(entries);
}

/** @throws InvalidArgumentError with what it must be. */
function scale(text: string): string | number {
  const [above, below = 1, ...more] = text.split('/').map((part) => (part.trim() === '' ? NaN : Number(part)));
  if (more.length === 0 && Number.isFinite(above) && Number.isFinite(above! / below) && above !== 0) return text.includes('/') ? text : Number(text); // prettier-ignore
  throw new InvalidArgumentError('It must be a number that is not 0, or a fraction such as 1/255.');
}

const numbers =
  (zero: boolean) =>
  (text: string): number[] => {
    const values = text.split(',').map((part) => (part.trim() === '' ? NaN : Number(part)));
    if (values.every((value) => Number.isFinite(value) && (zero || value !== 0))) return values;
    throw new InvalidArgumentError(`It must be one number or one a channel${zero ? '' : ', none of them 0'}, such as 0.5 or 0.4,0.5,0.6.`); // prettier-ignore
  };

/** One entropy for all early exits, or one each. */
export function entropies(text: string): number | number[] {
  const values = text.split(',').map((part) => (part.trim() === '' ? NaN : Number(part)));
  if (!values.every((value) => value >= 0)) throw new InvalidArgumentError('It must be one number or one an exit, each 0 or more, such as 0.4 or 0.4,0.2.'); // prettier-ignore
  return values.length === 1 ? values[0]! : values;
}

function sizeOf(text: string): number | [number, number] {
  const [height, width, ...more] = text.split(/[x,]/).map((part) => (/^\s*\d+\s*$/.test(part) ? Number(part) : 0));
  if (more.length > 0 || !height || width === 0) throw new InvalidArgumentError('It must be a number of pixels, such as 256, or a height and a width, such as 240x320.'); // prettier-ignore
  return width === undefined ? height : [height, width];
}

/** Where samples come from and how many are used, for every command that runs a model on data. */
export function withData(command: Command): Command {
  command
    .optionsGroup('Data:')
    .requiredOption('--data <config or folder>', 'a YAML file under configs/, or a folder of data')
    .option('--data-root <folder>', 'where relative paths in the data config start')
    .option('--allow-modules', 'run modules that the schedule or data config names')
    .option('--limit <n>', 'validate on n samples, drawn by the seed, the same each time', wholeNumber(1))
    .option('--batch-size <n>', 'samples a run takes', wholeNumber(1))
    .option('--seed <n>', 'for everything drawn at random (default: 0)', wholeNumber(0))
    .option('--threads <n>', 'threads within one operator (default: all cores)', wholeNumber(1, mostThreads));
  return withPreprocessing(command);
}

export function numberOption(flags: string, description: string, least: number, group: string): Option {
  return new Option(flags, description).argParser(wholeNumber(least)).helpGroup(group);
}
