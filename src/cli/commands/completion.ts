import type { Command } from 'commander';
import { configNames } from '../../data/guess.ts';
import { passes } from '../../passes/index.ts';
import type { Pass } from '../../passes/pass.ts';
import type { Call, CommonOptions } from '../call.ts';
import { exit } from '../errors.ts';
import { scripts, type CommandWords, type Shell } from '../completion_scripts.ts';
import { namedSchedules, scheduleText } from '../../api/schedule.ts';
import { headOf } from './schedules.ts';
import { namedTargets } from '../../api/target.ts';

/** `qtool completion <shell>`: a script for the shell to load, made from the commands as they are declared. */
export const completionOf =
  (program: Command) =>
  async (shell: Shell, _: CommonOptions, call: Call): Promise<number> => {
    const schedules = (await namedSchedules()).sort();
    const titles = new Map<string, string>();
    for (const name of schedules) titles.set(name, headOf((await scheduleText(name)).text).title);
    const classesOf = (some: readonly Pass[]): string[] => some.flatMap((pass) => pass.classes);
    const { levelled } = await import('./sensitivity.ts');
    // What an option or argument of this name may be.
    const values: Values = {
      ...{ schedule: schedules, data: [...configNames(), 'random'], target: ['auto', ...(await namedTargets())] },
      ...{ class: classesOf(passes), command: program.commands.map((one) => one.name()) },
    };
    // The only option of the name is that of sensitivity.
    const optionValues = { ...values, class: classesOf(levelled) };
    const script = scripts[shell](program.commands.map((command) => wordsOf(command, optionValues, values, titles)));
    call.answer({ format: 1, shell, script }, () => script.trimEnd());
    return exit.ok;
  };

type Values = Readonly<Record<string, readonly string[]>>;

/** Names of options and arguments that have values of their own and take files as well. */
const orFiles = new Set(['schedule', 'data', 'target']);

function wordsOf(
  command: Command,
  optionValues: Values,
  values: Values,
  titles: ReadonlyMap<string, string>,
): CommandWords {
  const shown = command.createHelp().visibleOptions(command);
  const known = (name: string, choices: readonly string[] | undefined, of: Values) => {
    const found = choices ?? of[name] ?? [];
    const told = new Map(
      found.flatMap((value) => (name === 'schedule' ? [[value, titles.get(value) ?? ''] as const] : [])),
    );
    return { told, values: found, files: found.length === 0 || (choices === undefined && orFiles.has(name)) };
  };
  const [argument] = command.registeredArguments;
  return {
    name: command.name(),
    summary: command.summary(),
    options: shown.map((option) => ({
      long: option.long,
      short: option.short,
      description: option.description,
      takes: option.required || option.optional,
      ...known(option.attributeName(), option.argChoices, optionValues),
    })),
    ...known(argument?.name() ?? '', argument?.argChoices, values),
  };
}
