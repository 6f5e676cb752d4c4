import type { Io } from './io.ts';
import { QtoolError } from '../util/error.ts';
import { exit } from './errors.ts';

/**
 * Runs work that Ctrl-C ends gently: the first one aborts the signal, the second ends the process at once. onnxruntime holds
 * the event loop while it runs, so either is seen at the end of the batch at work. `tidy` takes off the terminal what would stand in
 * the way of a line.
 */
export async function interruptible<T>(
  io: Io,
  work: (signal: AbortSignal) => Promise<T>,
  tidy: () => void = () => undefined,
): Promise<T> {
  const controller = new AbortController();
  const stop = io.onInterrupt(() => {
    tidy();
    if (controller.signal.aborted) return io.exit(exit.interrupted);
    io.stderr('qtool: stopping after this step, the best model so far is kept; Ctrl-C again ends at once\n');
    controller.abort(new QtoolError('cancelled', 'cancelled'));
  });
  try {
    return await work(controller.signal);
  } finally {
    stop();
  }
}
