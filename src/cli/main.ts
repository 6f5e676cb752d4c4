import { CommanderError } from 'commander';
import { jsonText } from '../util/json.ts';
import { version } from '../util/version.ts';
import { paintFor, wantsColor } from './color.ts';
import { errorObject, errorText, exit, exitCodeOf } from './errors.ts';
import { processIo, type Io } from './io.ts';
import { buildProgram } from './program.ts';
import { visibleIo } from './visible.ts';

/**
 * The command line: parses, runs one command, prints what went wrong. Never throws.
 * @param argv the arguments after `qtool`.
 * @returns the exit code: 0 fine, 1 a gate failed, 2 something the user can mend, 70 a bug, 130 interrupted.
 */
export async function main(argv: readonly string[], world: Io = processIo()): Promise<number> {
  const io = visibleIo(world, (tty) => wantsColor(colorFlag(argv), world.env, tty));
  let code: number = exit.ok;
  const program = buildProgram(io, version, (result) => (code = result));
  if (argv.length === 0) {
    program.outputHelp({ error: true });
    return exit.user;
  }
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return code;
  } catch (error) {
    // Commander has printed its own message already; help and version come this way too, with code 0.
    if (error instanceof CommanderError) {
      if (error.exitCode !== 0 && argv.includes('--json'))
        io.stdout(jsonText({ error: { code: 'usage', message: error.message.replace(/^error: /, '') } }));
      return error.exitCode === 0 ? exit.ok : exit.user;
    }
    if (argv.includes('--json')) io.stdout(jsonText(errorObject(error)));
    const paint = await paintFor(wantsColor(colorFlag(argv), io.env, io.tty.stderr));
    io.stderr(errorText(error, paint));
    return exitCodeOf(error);
  }
}

/** Read from the arguments themselves: an error may come before or outside of any command's options. */
function colorFlag(argv: readonly string[]): boolean | undefined {
  const last = argv.findLast((argument) => argument === '--color' || argument === '--no-color');
  return last === undefined ? undefined : last === '--color';
}
