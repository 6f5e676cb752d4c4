import { plain, type Paint } from '../report/paint.ts';
import type { Io } from './io.ts';

/**
 * Whether a stream gets colours: `--color` / `--no-color` first, then FORCE_COLOR (0 or false is no), then NO_COLOR
 * (https://no-color.org: any text but the empty one), then whether the stream is a terminal that can. FORCE_COLOR before
 * NO_COLOR is Node's own order.
 */
export function wantsColor(flag: boolean | undefined, env: Io['env'], tty: boolean): boolean {
  if (flag !== undefined) return flag;
  const force = env['FORCE_COLOR'];
  if (force !== undefined) return force !== '0' && force !== 'false';
  if (env['NO_COLOR'] !== undefined && env['NO_COLOR'] !== '') return false;
  return tty && env['TERM'] !== 'dumb';
}

/** Chalk as a Paint. Chalk 5 reads no NO_COLOR, so it is told its level; it is loaded only where colours are wanted. */
export async function paintFor(on: boolean): Promise<Paint> {
  if (!on) return plain;
  const { Chalk } = await import('chalk');
  const { bold, dim, red, green, yellow } = new Chalk({ level: 1 });
  return { bold, dim, red, green, yellow };
}
