import { bytes, duration, oneLine, titleOf, withInterval } from '../report/format.ts';
import type { RunEvent } from '../run/event.ts';

/** Shows a run while it goes. */
export interface Progress {
  show(event: RunEvent): void;
  /** Takes a bar off the terminal. May be called twice. */
  close(): void;
}

/** One line for an event that is not mere progress. */
export function eventLine(event: Exclude<RunEvent, { kind: 'progress' }>): string {
  if (event.kind === 'phase') return oneLine(event.text);
  if (event.kind === 'note') return `  note: ${oneLine(event.text)}`;
  if (event.kind === 'baseline') {
    const { metrics, bytes: size } = event.measurement;
    const measured = metrics.map(
      (metric) => `${titleOf(metric)} ${withInterval(metric.value, metric.interval, metric.unit)}`,
    );
    return `  ${[bytes(size), ...measured].join(', ')}`;
  }
  const { index, instance, verdict, why, seconds } = event.report;
  return `  ${index} ${instance}: ${verdict}, ${oneLine(why)} (${seconds.toFixed(1)} s)`;
}

/** `2 min 5 s left in all`, behind what separates it; nothing where it is not known. */
export const leftText = (left: number | undefined, behind: string): string =>
  left === undefined || !Number.isFinite(left) ? '' : `${behind}${duration(left)} left in all`;
