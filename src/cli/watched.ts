import type { Watch } from '../api/given.ts';
import { recipeTable } from '../report/recipes.ts';
import type { Call } from './call.ts';
import { interruptible } from './interrupt.ts';
import { progressFor } from './progress.ts';

/** What a command hands to the library: its progress is shown, Ctrl-C aborts. */
export type Watched = Required<{ readonly [K in keyof Watch]: NonNullable<Watch[K]> }>;

/** Runs a call of the library on a terminal. */
export async function watched<T>(call: Call, work: (watch: Watched) => Promise<T>): Promise<T> {
  const progress = await progressFor(call.io, call.quiet);
  return interruptible(call.io, (signal) =>
    work({
      signal,
      onProgress: (event) => progress.show(event),
      onRecipes: (trial) => {
        progress.close();
        // A refusal needs the table; of a choice the notes tell.
        if (!call.quiet || trial.chosen === undefined) call.io.stderr(`${recipeTable(trial, call.errorPaint)}\n`);
      },
    }),
  ).finally(() => progress.close());
}
