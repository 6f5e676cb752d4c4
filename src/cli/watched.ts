import type { Watch } from '../api/given.ts';
import type { Paint } from '../report/paint.ts';
import { recipeTable } from '../report/recipes.ts';
import type { Call } from './call.ts';
import { exit } from './errors.ts';
import { interruptible } from './interrupt.ts';
import { progressFor } from './progress.ts';

/** What a command hands to the library: its progress is shown, Ctrl-C aborts. */
export type Watched = Required<{ readonly [K in keyof Watch]: NonNullable<Watch[K]> }>;

/** Runs a call of the library on a terminal. */
export async function watched<T>(call: Call, work: (watch: Watched) => Promise<T>): Promise<T> {
  const progress = await progressFor(call.io, call.quiet);
  const run = (signal: AbortSignal): Promise<T> =>
    work({
      signal,
      onProgress: (event) => progress.show(event),
      onRecipes: (trial) => {
        progress.close();
        // A refusal needs the table; of a choice the notes tell.
        if (!call.quiet || trial.chosen === undefined) call.io.stderr(`${recipeTable(trial, call.errorPaint)}\n`);
      },
    });
  return interruptible(call.io, run, () => progress.close()).finally(() => progress.close());
}

/** The same for a call whose report is all that the command gives. */
export async function answered<R extends object>(
  call: Call,
  work: (watch: Watched) => Promise<R>,
  text: (report: R, paint: Paint, width: number) => string,
): Promise<number> {
  const report = await watched(call, work);
  call.answer(report, () => text(report, call.paint, call.width));
  return exit.ok;
}
