import { Argument, Option, type Command } from 'commander';
import { shells } from './completion_scripts.ts';
import { withCommon } from './options.ts';

/** Makes a command with its help: how it is called, in one line, in full. */
export type Declare = (usage: string, summary: string, description: string) => Command;

/** Says what a command runs: a function of its arguments, its options and the call, imported when the command is called. */
export type Runs = (command: Command, load: () => Promise<(...args: never[]) => Promise<number>>) => void;

/** Declares the commands that look things up and run no model. */
export function declareLookups(program: Command, declare: Declare, runs: Runs, finish: (code: number) => void): void {
  const passes = declare(
    'passes [class]',
    'list the classes a schedule may name, with their options',
    'List the classes a schedule may name. With a class: its options, where the method is from.',
  );
  const explain = declare(
    'explain <class>',
    'say what a class does: its options with defaults, its source, an example',
    'Say what a class of a schedule does: its options with defaults, where the method is from, an example.',
  );
  for (const command of [passes, explain])
    runs(withCommon(command), async () => (await import('./commands/passes.ts')).listPasses);

  const schedules = declare(
    'schedules',
    'list the schedules that come with qtool',
    'List the schedules that come with qtool and what each is for.',
  );
  runs(withCommon(schedules), async () => (await import('./commands/schedules.ts')).listSchedules);

  const completion = declare(
    'completion',
    'print a script that completes commands, options and names in a shell',
    'Print a script for bash, zsh or fish that completes commands, options, names of schedules and files.',
  ).addArgument(new Argument('<shell>', 'the shell').choices(shells));
  runs(withCommon(completion), async () => (await import('./commands/completion.ts')).completionOf(program));

  declare('help [command]', 'show the help of a command', 'Show the help of a command, or the list of commands.')
    .addOption(new Option('--json').hideHelp())
    .action(async (name: string | undefined, { json }: { json?: boolean }) =>
      finish((await import('./commands/help.ts')).help(program, name, json)),
    );
}
