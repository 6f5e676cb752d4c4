import { Presets, SingleBar } from 'cli-progress';
import { duration, hanging, shorten } from '../report/format.ts';
import { eventLine, leftText, type Progress } from './event_line.ts';
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
      // An epoch's own time left is not what one waits for: the line shows that of all epochs, and more of the text.
      const all = event.left !== undefined;
      const room = all ? Math.max(40, ((stream as { readonly columns?: number }).columns ?? 80) - 44) : 40;
      const text = visible(shorten(event.text, room), false);
      const shown = { text, left: leftText(event.left, '  ') };
      if (bar) return bar.update(event.done, shown);
      bar = new SingleBar(
        {
          stream,
          format: `  {bar} {percentage} %${all ? '{left}  ' : '  {eta_formatted}'}{text}`,
          formatTime: timeLeft,
          barsize: all ? 12 : 24,
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
      bar.start(1, event.done, shown);
    },
    close: stop,
  };
}
