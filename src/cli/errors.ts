import { oneLine } from '../report/format.ts';
import type { Paint } from '../report/paint.ts';
import { QtoolError } from '../util/error.ts';

/** What a shell sees. 70 is sysexits' EX_SOFTWARE, 130 what a shell gives for Ctrl-C. */
export const exit = { ok: 0, gate: 1, user: 2, bug: 70, interrupted: 130 } as const;

export function exitCodeOf(error: unknown): number {
  if (!(error instanceof QtoolError)) return exit.bug;
  if (error.code === 'gate') return exit.gate;
  return error.code === 'cancelled' ? exit.interrupted : exit.user;
}

/**
 * An error as the terminal shows it: `qtool: <at>: <message>` and a line with the hint; several problems of one file stand
 * below each other. Whatever is not a QtoolError is a bug and keeps its stack.
 */
export function errorText(error: unknown, paint: Paint): string {
  if (!(error instanceof QtoolError)) {
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return `${paint.red('qtool: this is a bug in qtool, please report it:')}\n${stack}\n`;
  }
  const at = error.at === undefined ? '' : `${oneLine(error.at)}: `;
  const hint = error.hint === undefined ? '' : `  ${paint.dim('hint:')} ${error.hint}\n`;
  return `${paint.red('qtool:')} ${at}${error.message}\n${hint}`;
}

/** What went wrong: `code` tells kinds of mistakes apart, `at` is where, `hint` how to mend it. */
export interface ErrorReport {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly at?: string | undefined;
    readonly hint?: string | undefined;
  };
}

/** The same for `--json`. */
export function errorObject(error: unknown): ErrorReport {
  if (!(error instanceof QtoolError))
    return { error: { code: 'bug', message: error instanceof Error ? error.message : String(error) } };
  const { code, message, at, hint } = error;
  return { error: { code, message, at, hint } };
}
