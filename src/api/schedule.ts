import { readFile, readdir, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import type { Model } from '../graph/model.ts';
import { everyLayerFacts } from '../graph/names.ts';
import { passes } from '../passes/index.ts';
import type { Pass } from '../passes/pass.ts';
import { bindSchedule } from '../schedule/bind.ts';
import { parseSchedule, type ScheduleContext } from '../schedule/parse.ts';
import { forTarget, type Target } from '../schedule/target.ts';
import type { Schedule } from '../schedule/types.ts';
import { QtoolError } from '../util/error.ts';
import { didYouMean } from '../util/suggest.ts';

/** A schedule: the name of one that comes with qtool, the path of a file, YAML text, or what such text says as an object. */
export type ScheduleGiven = string | Readonly<Record<string, unknown>>;

/** A schedule as text, and the name that errors show. */
export interface ScheduleText {
  readonly file: string;
  readonly text: string;
}

/** The package's own schedules, from src/api/ as well as from dist/api/ and dist/cli/. */
export const scheduleFolder = fileURLToPath(new URL('../../schedules/', import.meta.url));

/** Names that stand for schedules besides paths. */
export async function namedSchedules(): Promise<string[]> {
  const files = await readdir(scheduleFolder).catch(() => []);
  return files.filter((file) => /\.ya?ml$/.test(file)).map((file) => basename(file, extname(file)));
}

/** The text of a schedule, in whatever form it is given. @throws QtoolError('usage') where it cannot be found or read. */
export async function scheduleText(given: ScheduleGiven): Promise<ScheduleText> {
  if (typeof given !== 'string') return { file: 'schedule', text: stringify(given) };
  if (/\n|:\s|^\s*\{/.test(given)) return { file: 'schedule', text: given };
  const file = await findSchedule(given);
  try {
    return { file, text: await readFile(file, 'utf8') };
  } catch (cause) {
    throw new QtoolError('usage', `cannot read: ${(cause as Error).message}`, { at: file, cause });
  }
}

/**
 * The path of a schedule given by path or by name; a path wins, so that a file of one's own is never shadowed.
 * @throws QtoolError('usage') where there is neither.
 */
async function findSchedule(given: string): Promise<string> {
  const info = await stat(given).catch(() => undefined);
  // A pipe too, as of `<(…)`.
  if (info && !info.isDirectory()) return given;
  if (info)
    throw new QtoolError('usage', 'this is a folder, not a schedule', { at: given, hint: 'give the YAML file in it' });
  const names = await namedSchedules();
  if (names.includes(given)) return join(scheduleFolder, `${given}.yaml`);
  const hint = names.length > 0 ? `give a YAML file, or one of: ${names.join(', ')}` : 'give a YAML file';
  throw new QtoolError('usage', `no such schedule${didYouMean(given, names)}`, { at: given, hint });
}

/**
 * A schedule checked by itself and, where they are given, against a model's layers and the metrics that will be measured, and
 * held within what a target can do.
 * @throws QtoolError('schedule').
 */
export function checkedSchedule(
  { file, text }: ScheduleText,
  against: {
    readonly model?: Model | undefined;
    readonly metrics?: ScheduleContext['metrics'];
    readonly training?: ScheduleContext['training'];
    readonly target?: Target | undefined;
    /** Passes of the caller's own, beside those that come with qtool. */
    readonly passes?: readonly Pass[] | undefined;
  } = {},
): Schedule {
  const { model, metrics, training, target, passes: own = [] } = against;
  const parsed = parseSchedule(text, file, { passes: [...passes, ...own], metrics, training });
  const bound = model === undefined ? parsed : bindSchedule(parsed, { layers: everyLayerFacts(model) });
  return target === undefined ? bound : forTarget(bound, target);
}
