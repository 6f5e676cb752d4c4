import { InvalidArgumentError, Option, type Command } from 'commander';

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
  const data = new Option('--data <config or folder>', 'a YAML file under configs/, or a folder of data').helpGroup(
    'Data:',
  );
  return command
    .addOption(required ? data.makeOptionMandatory() : data)
    .addOption(new Option('--data-root <folder>', 'where relative paths in the data config start').helpGroup('Data:'))
    .addOption(numberOption('--limit <n>', 'validate on the first n samples only', 1, 'Data:'))
    .addOption(numberOption('--batch-size <n>', 'samples a run takes', 1, 'Data:'))
    .addOption(numberOption('--seed <n>', 'for everything drawn at random (default: 0)', 0, 'Data:'))
    .addOption(numberOption('--threads <n>', 'threads within one operator (default: all cores)', 1, 'Data:'));
}

export function numberOption(flags: string, description: string, least: number, group?: string): Option {
  const option = new Option(flags, description).argParser(wholeNumber(least));
  return group === undefined ? option : option.helpGroup(group);
}
