import { Command } from 'commander';
import { nearest } from '../util/suggest.ts';

/**
 * A command that names an unknown option before it misses a required one: `--shedule` is a slip for `--schedule`, not a missing
 * `--schedule`.
 */
export class QtoolCommand extends Command {
  override createCommand(name?: string): QtoolCommand {
    return new QtoolCommand(name);
  }

  override parseOptions(args: string[]): ReturnType<Command['parseOptions']> {
    const parsed = super.parseOptions(args);
    const [flag] = (parsed.unknown[0] ?? '').split('=');
    const help = parsed.unknown.some((arg) => arg === '--help' || arg === '-h');
    // The options of its commands are unknown to the program itself.
    if (flag?.startsWith('-') && !help && this.commands.length === 0) {
      const known = [...this.options.map((option) => option.long ?? option.flags), '--help'];
      const meant = flag.startsWith('--') ? nearest(flag, known) : undefined;
      this.error(`error: unknown option '${flag}'${meant === undefined ? '' : ` (Did you mean ${meant}?)`}`, {
        code: 'commander.unknownOption',
      });
    }
    return parsed;
  }
}

/** Lines at the end of a command's help that work as they stand, in a folder with a model.onnx. */
export function withExamples<C extends Command>(command: C, ...lines: readonly string[]): C {
  return command.addHelpText('after', ['\nExamples:', ...lines.map((line) => `  ${line}`)].join('\n'));
}
