import { jsonText } from '../util/json.ts';
import type { Paint } from '../report/paint.ts';
import { paintFor, wantsColor } from './color.ts';
import type { Io } from './io.ts';

/** The options that every command takes. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly color?: boolean;
}

/** What a command gets besides its own arguments. */
export interface Call {
  readonly io: Io;
  readonly json: boolean;
  readonly quiet: boolean;
  /** For what goes to stdout. */
  readonly paint: Paint;
  /** For what goes to stderr. */
  readonly errorPaint: Paint;
  /** Columns to print for. */
  readonly width: number;
  /** The result on stdout: the object with `--json`, of a type that `Answers` has, else the text. Called once. */
  answer(object: object, text: () => string): void;
  /** A remark on stderr, unless `--quiet`. */
  remark(text: string): void;
}

export async function callOf(io: Io, options: CommonOptions): Promise<Call> {
  const json = options.json === true;
  const quiet = options.quiet === true;
  return {
    io,
    json,
    quiet,
    paint: await paintFor(!json && wantsColor(options.color, io.env, io.tty.stdout)),
    errorPaint: await paintFor(wantsColor(options.color, io.env, io.tty.stderr)),
    // Wider lines than 160 are hard to read; below 80 a table of numbers cannot be held together.
    width: Math.max(80, Math.min(160, io.columns ?? 120)),
    answer: (object, text) => io.stdout(json ? jsonText(object) : `${text()}\n`),
    remark: (text) => {
      if (!quiet) io.stderr(`${text}\n`);
    },
  };
}
