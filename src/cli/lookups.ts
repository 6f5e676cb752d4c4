import { Argument, type Command } from 'commander';
import type { Call, CommonOptions } from './call.ts';
import { shells, type Shell } from './completion_scripts.ts';
import { withCommon } from './options.ts';

/** Runs a command with its call, and tells its exit code. */
export type Action = (work: (call: Call) => Promise<number>, options: CommonOptions) => Promise<void>;

/** Declares the commands that look things up and run no model. */
export function declareLookups(program: Command, action: Action, finish: (code: number) => void): void {
  const passes = program
    .command('passes [class]')
    .summary('list the classes a schedule may name, with their options')
    .description('List the classes a schedule may name. With a class: its options, where the method is from.');
  withCommon(passes).action((name: string | undefined, options: CommonOptions) =>
    action(async (call) => (await import('./commands/passes.ts')).listPasses(name, call), options),
  );

  const explain = program
    .command('explain <class>')
    .summary('say what a class does: its options with defaults, its source, an example')
    .description(
      'Say what a class of a schedule does: its options with defaults, where the method is from, an example.',
    );
  withCommon(explain).action((name: string, options: CommonOptions) =>
    action(async (call) => (await import('./commands/passes.ts')).listPasses(name, call), options),
  );

  const schedules = program
    .command('schedules')
    .summary('list the schedules that come with qtool')
    .description('List the schedules that come with qtool and what each is for.');
  withCommon(schedules).action((options: CommonOptions) =>
    action(async (call) => (await import('./commands/schedules.ts')).listSchedules(call), options),
  );

  const completion = program
    .command('completion')
    .summary('print a script that completes commands, options and names in a shell')
    .description('Print a script for bash, zsh or fish that completes commands, options, names of schedules and files.')
    .addArgument(new Argument('<shell>', 'the shell').choices(shells));
  withCommon(completion).action((shell: Shell, options: CommonOptions) =>
    action(async (call) => (await import('./commands/completion.ts')).completion(program, shell, call), options),
  );

  const help = program
    .command('help [command]')
    .summary('show the help of a command')
    .description('Show the help of a command, or the list of commands.');
  help.action(async (name: string | undefined) => finish((await import('./commands/help.ts')).help(program, name)));
}
