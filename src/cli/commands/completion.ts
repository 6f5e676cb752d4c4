import type { Command } from 'commander';
import { configNames } from '../../data/guess.ts';
import { passes } from '../../passes/index.ts';
import type { Pass } from '../../passes/pass.ts';
import type { Call, CommonOptions } from '../call.ts';
import { exit } from '../errors.ts';
import { scripts, type CommandWords, type Shell } from '../completion_scripts.ts';
import { namedSchedules } from '../../api/schedule.ts';
import { namedTargets } from '../../api/target.ts';

/** `qtool completion <shell>`: a script for the shell to load, made from the commands as they are declared. */
export const completionOf =
  (program: Command) =>
  async (shell: Shell, _: CommonOptions, call: Call): Promise<number> => {
    const schedules = (await namedSchedules()).sort();
    const classesOf = (some: readonly Pass[]): string[] => some.flatMap((pass) => pass.classes);
    const pruners = classesOf(passes.filter(({ section }) => section === 'pruners'));
    // What an option or argument of this name may be, besides a file.
    const values: Values = {
      ...{ schedule: schedules, data: [...configNames(), 'random'], target: ['auto', ...(await namedTargets())] },
      ...{ class: classesOf(passes), command: program.commands.map((one) => one.name()) },
    };
    // The only option of the name, of sensitivity, takes pruners.
    const optionValues = { ...values, class: pruners };
    const script = scripts[shell](program.commands.map((command) => wordsOf(command, optionValues, values)));
    call.answer({ format: 1, shell, script }, () => script.trimEnd());
    return exit.ok;
  };

type Values = Readonly<Record<string, readonly string[]>>;

function wordsOf(command: Command, optionValues: Values, values: Values): CommandWords {
  const shown = command.createHelp().visibleOptions(command);
  return {
    name: command.name(),
    summary: command.summary(),
    options: shown.map((option) => ({
      long: option.long,
      short: option.short,
      description: option.description,
      takes: option.required || option.optional,
      values: option.argChoices ?? optionValues[option.attributeName()] ?? [],
    })),
    values: command.registeredArguments.map((argument) => argument.argChoices ?? values[argument.name()] ?? []),
  };
}
