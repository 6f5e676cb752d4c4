/** What went wrong, by whom it can be mended. Only `bug` keeps its stack on the terminal. */
export type ErrorCode = 'usage' | 'model' | 'data' | 'schedule' | 'graph' | 'runtime' | 'gate' | 'cancelled';

// The command line is a bundle, and a user's module that imports 'qtool' gets the library's own copy of this class: an error of either is one
// to the other by this mark, which all copies in a process share.
const mark = Symbol.for('qtool.error');

/**
 * The one error class. `message` says what is wrong in one line, `at` where (`file:line:col`, tensor or node name), `hint`
 * how to mend it. User mistakes exit 2, a failed gate exits 1; any other exception is a bug and keeps its stack.
 */
export class QtoolError extends Error {
  readonly code: ErrorCode;
  readonly at: string | undefined;
  readonly hint: string | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    where: { at?: string | undefined; hint?: string | undefined; cause?: unknown } = {},
  ) {
    super(message, where.cause === undefined ? undefined : { cause: where.cause });
    this.name = 'QtoolError';
    this.code = code;
    this.at = where.at;
    this.hint = where.hint;
  }

  get [mark](): true {
    return true;
  }

  static override [Symbol.hasInstance](value: unknown): value is QtoolError {
    return typeof value === 'object' && value !== null && mark in value;
  }
}
