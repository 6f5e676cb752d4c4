import { fileURLToPath } from 'node:url';
import { oneLine } from '../report/format.ts';
import type { Paint } from '../report/paint.ts';
import { QtoolError } from '../util/error.ts';

/** What a shell sees. 70 is sysexits' EX_SOFTWARE, 130 what a shell gives for Ctrl-C. */
export const exit = { ok: 0, gate: 1, user: 2, bug: 70, interrupted: 130 } as const;

export function exitCodeOf(error: unknown): number {
  if (!(error instanceof QtoolError)) return moduleOf(error) === undefined ? exit.bug : exit.user;
  if (error.code === 'gate') return exit.gate;
  return error.code === 'cancelled' ? exit.interrupted : exit.user;
}

/**
 * The place in a user's module that an exception came through: the first frame that is neither qtool's nor in a package; undefined
 * where there is none.
 */
function moduleOf(error: unknown): string | undefined {
  const frames = error instanceof Error ? (error.stack?.match(/file:\/\/[^\s)]+/g) ?? []) : [];
  const home = new URL('../../', import.meta.url).href;
  const own = frames.find((frame) => !frame.startsWith(home) && !frame.includes('/node_modules/'));
  const [, file, place] = /^(.*?)(:\d+:\d+)?$/.exec(own ?? '') ?? [];
  return file ? fileURLToPath(file) + (place ?? '') : undefined;
}

/**
 * An error as the terminal shows it: `qtool: <at>: <message>` and a line with the hint; several problems of one file stand
 * below each other. Whatever is not a QtoolError is a bug, of qtool or of a user's module, and keeps its stack.
 */
export function errorText(error: unknown, paint: Paint): string {
  if (!(error instanceof QtoolError)) {
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
    const at = moduleOf(error);
    const whose = at === undefined ? 'this is a bug in qtool, please report it:' : `${at}: the module failed:`;
    return `${paint.red(`qtool: ${whose}`)}\n${stack}\n`;
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
  if (!(error instanceof QtoolError)) {
    const at = moduleOf(error);
    const message = error instanceof Error ? error.message : String(error);
    return { error: { code: at === undefined ? 'bug' : 'module', message, at } };
  }
  const { code, message, at, hint } = error;
  return { error: { code, message, at, hint } };
}
