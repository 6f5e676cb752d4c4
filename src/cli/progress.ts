import { oneLine } from '../report/format.ts';
import { eventLine, leftText, type Progress } from './event_line.ts';
import type { Io } from './io.ts';

/** Bars on a terminal, plain lines elsewhere, nothing with `--quiet`. All on stderr: stdout belongs to the result. */
export async function progressFor(io: Io, quiet: boolean): Promise<Progress> {
  if (quiet) return { show: () => undefined, close: () => undefined };
  if (!io.tty.stderr || io.env['TERM'] === 'dumb') return plainProgress((line) => io.stderr(`${line}\n`));
  const { barProgress } = await import('./bar.ts');
  return barProgress(io);
}

/** Least time between two lines of one phase: a log is read, not watched. */
const quietMs = 2000;

/** One line a phase, one each 10 % of a phase that takes long, one a stage and note. */
export function plainProgress(print: (line: string) => void, now: () => number = Date.now): Progress {
  let reached = 0;
  let last = now();
  return {
    show(event) {
      if (event.kind !== 'progress') {
        reached = 0;
        last = now();
        print(eventLine(event));
        return;
      }
      const step = Math.floor(event.done * 10 + 1e-9);
      if (step < reached) reached = step;
      if (step === reached || step >= 10 || now() - last < quietMs) return;
      reached = step;
      last = now();
      print(`  ${step * 10} % ${oneLine(event.text)}${leftText(event.left, ', ')}`.trimEnd());
    },
    close: () => undefined,
  };
}
