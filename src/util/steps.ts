import { setImmediate } from 'node:timers/promises';

/** A long computation in steps, between which it can be stopped: yields the share that is done, returns the result. */
export type Steps<T> = Generator<number, T, void>;

/** The result, without a pause. */
export function finished<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** Steps that are the part from `from` to `to` of a longer computation. */
export function* portion<T>(steps: Steps<T>, from: number, to: number): Steps<T> {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    yield from + (to - from) * step.value;
  }
}

/** Milliseconds after which others get their turn: a key that is pressed has an effect at once. */
const turn = 50;

/**
 * The result of steps that let the event loop (signals, timers, the progress line) have its turn now and then.
 * @throws the signal's reason where it is aborted meanwhile.
 */
export async function breathing<T>(
  steps: Steps<T>,
  { signal, progress }: { readonly signal: AbortSignal; readonly progress?: (done: number) => void },
): Promise<T> {
  for (let since = performance.now(); ;) {
    const step = steps.next();
    if (step.done) return step.value;
    if (performance.now() - since < turn) continue;
    progress?.(step.value);
    await setImmediate();
    signal.throwIfAborted();
    since = performance.now();
  }
}
