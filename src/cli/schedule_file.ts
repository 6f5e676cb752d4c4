import { readFile, readdir, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { QtoolError } from '../util/error.ts';
import { didYouMean } from '../util/suggest.ts';

/** The package's own schedules and configs, from src/cli/ as well as from dist/cli/. */
const folderOf = (name: string): string => fileURLToPath(new URL(`../../${name}/`, import.meta.url));

/** Where the schedules that come with qtool lie. */
export const scheduleFolder = folderOf('schedules');

/** Names that `--schedule` takes besides paths. */
export async function namedSchedules(): Promise<string[]> {
  const files = await readdir(scheduleFolder).catch(() => []);
  return files.filter((file) => /\.ya?ml$/.test(file)).map((file) => basename(file, extname(file)));
}

/**
 * The path of a schedule given by path or by name; a path wins, so that a file of one's own is never shadowed.
 * @throws QtoolError('usage') where there is neither.
 */
export async function findSchedule(given: string): Promise<string> {
  const info = await stat(given).catch(() => undefined);
  if (info?.isFile()) return given;
  if (info)
    throw new QtoolError('usage', 'this is a folder, not a schedule', { at: given, hint: 'give the YAML file in it' });
  const names = await namedSchedules();
  if (names.includes(given)) return join(scheduleFolder, `${given}.yaml`);
  const hint = names.length > 0 ? `give a YAML file, or one of: ${names.join(', ')}` : 'give a YAML file';
  throw new QtoolError('usage', `no such schedule${didYouMean(given, names)}`, { at: given, hint });
}

/** The text of a schedule file. */
export async function readSchedule(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new QtoolError('usage', `cannot read: ${(cause as Error).message}`, { at: path, cause });
  }
}
