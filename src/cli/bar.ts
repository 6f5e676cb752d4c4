import { Presets, SingleBar } from 'cli-progress';
import { duration, hanging, shorten } from '../report/format.ts';
import { eventLine, type Progress } from './event_line.ts';
import type { Io } from './io.ts';
import { visible } from './visible.ts';

/** Nothing where there is nothing to guess from yet: cli-progress then gives a text, or 0. */
const timeLeft = (seconds: unknown): string =>
  typeof seconds === 'number' && seconds > 0 ? `${duration(seconds)} left  ` : '';

/**
 * A bar with the time left, on a terminal only: without one cli-progress prints nothing or garbage. Lines are printed above
 * the bar; there is one bar at a time, begun anew with each phase, because the time left is guessed from the speed so far.
 */
export function barProgress(
  io: Pick<Io, 'stderr'> & Partial<Pick<Io, 'columns'>>,
  stream: NodeJS.WritableStream = process.stderr,
): Progress {
  let bar: SingleBar | undefined;
  const stop = () => {
    bar?.stop();
    bar = undefined;
  };
  return {
    show(event) {
      if (event.kind !== 'progress') {
        stop();
        const line = eventLine(event);
        io.stderr(`${hanging(/^ */.exec(line)?.[0] ?? '', line, io.columns ?? 100)}\n`);
        return;
      }
      const text = visible(shorten(event.text, 40), false);
      if (bar) return bar.update(event.done, { text });
      bar = new SingleBar(
        {
          stream,
          format: '  {bar} {percentage} %  {eta_formatted}{text}',
          formatTime: timeLeft,
          barsize: 24,
          hideCursor: true,
          clearOnComplete: true,
          stopOnComplete: false,
          fps: 8,
          etaBuffer: 20,
          // The bar stays where it is when the process is interrupted: the command closes it itself.
          gracefulExit: false,
        },
        Presets.shades_classic,
      );
      bar.start(1, event.done, { text });
    },
    close: stop,
  };
}
