import type { Command } from 'commander';
import { QtoolError } from '../../util/error.ts';
import { didYouMean } from '../../util/suggest.ts';
import { exit } from '../errors.ts';

/** `qtool help [command]`: what `qtool <command> --help` prints. */
export function help(program: Command, name: string | undefined, json = false): number {
  if (json)
    throw new QtoolError('usage', 'help is text, and has no JSON form', {
      hint: 'qtool passes --json tells of the classes, qtool schedules --json of the schedules',
    });
  if (name === undefined) {
    program.outputHelp();
    return exit.ok;
  }
  const command = program.commands.find((one) => one.name() === name);
  if (!command) {
    const known = program.commands.map((one) => one.name());
    throw new QtoolError('usage', `there is no command "${name}"${didYouMean(name, known)}`, {
      hint: `there are: ${known.join(', ')}`,
    });
  }
  command.outputHelp();
  return exit.ok;
}
