import { Command, type Option } from 'commander';
import { nearest } from '../util/suggest.ts';

/**
 * A command that names an unknown option before it misses a required one: `--shedule` is a slip for `--schedule`, not a missing
 * `--schedule`.
 */
export class QtoolCommand extends Command {
  override createCommand(name?: string): QtoolCommand {
    return new QtoolCommand(name);
  }

  /** A value that is none of the choices of an option may be a slip for one. */
  override error(message: string, options?: Parameters<Command['error']>[1]): never {
    const [, flags, value = ''] =
      /^error: option '(.+)' argument '(.*)' is invalid\. Allowed choices/s.exec(message) ?? [];
    const choices = this.options.find((option) => option.flags === flags)?.argChoices ?? [];
    const meant = nearest(value, choices);
    super.error(meant === undefined ? message : `${message} (Did you mean ${meant}?)`, options);
  }

  override parseOptions(args: string[]): ReturnType<Command['parseOptions']> {
    this.refuseTwice(args);
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

  /** Of an option that takes one value the last would count, and the first be dropped without a word. */
  private refuseTwice(args: readonly string[]): void {
    const seen = new Set<Option>();
    for (let i = 0; i < args.length && args[i] !== '--'; i++) {
      const arg = args[i] ?? '';
      const [long, joined] = [arg.split('=')[0] ?? '', arg.includes('=') || !arg.startsWith('--')];
      const option = this.options.find((one) => one.required && !one.variadic && (one.long === long || (one.short !== undefined && arg.startsWith(one.short)))); // prettier-ignore
      if (!option) continue;
      if (seen.has(option)) this.error(`error: option '${option.flags}' is given twice`, { code: 'qtool.givenTwice' });
      seen.add(option);
      // Its value may look like an option.
      if (!joined || arg === option.short) i += 1;
    }
  }
}

/** Lines at the end of a command's help that work as they stand, in a folder with a model.onnx. */
export function withExamples<C extends Command>(command: C, ...lines: readonly string[]): C {
  return command.addHelpText('after', ['\nExamples:', ...lines.map((line) => `  ${line}`)].join('\n'));
}
