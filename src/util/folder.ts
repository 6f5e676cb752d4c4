import { mkdir, mkdtemp, rmdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { QtoolError } from './error.ts';

/**
 * Makes a folder and those above it that are not there. Node's own `recursive: true` never ends where a file system refuses new
 * folders with ENOENT, as /proc does.
 * @returns the topmost folder that was made; undefined where all were there.
 * @throws QtoolError('usage') where one cannot be made, or a file has its name.
 */
export async function makeFolder(folder: string): Promise<string | undefined> {
  const missing: string[] = [];
  let path = resolve(folder);
  for (; !(await isThere(path)); path = dirname(path)) missing.push(path);
  try {
    // One that another process made meanwhile will do.
    for (const one of missing.toReversed())
      await mkdir(one).catch((cause: NodeJS.ErrnoException) => {
        if (cause.code !== 'EEXIST') throw cause;
      });
  } catch (cause) {
    throw new QtoolError('usage', `the folder cannot be made (${(cause as NodeJS.ErrnoException).code})`, {
      at: folder,
      hint: 'name a folder where you may write',
      cause,
    });
  }
  return missing.at(-1);
}

/**
 * Whether a folder can be made and written into, found by trying, since rights alone do not tell; nothing is left behind.
 * @throws QtoolError('usage') as `makeFolder`, and where nothing can be written.
 */
export async function checkFolder(folder: string): Promise<void> {
  const made = await makeFolder(folder);
  try {
    await rmdir(await mkdtemp(join(folder, '.qtool-')));
  } catch (cause) {
    throw new QtoolError('usage', `the folder cannot be written into (${(cause as NodeJS.ErrnoException).code})`, {
      at: folder,
      hint: 'name a folder where you may write',
      cause,
    });
  } finally {
    // Only empty ones go: another process may have taken one meanwhile.
    if (made !== undefined)
      for (let path = resolve(folder); path.length >= made.length; path = dirname(path))
        await rmdir(path).catch(() => undefined);
  }
}

async function isThere(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  if (found && !found.isDirectory())
    throw new QtoolError('usage', 'is a file, where a folder has to be', { at: path, hint: 'name a folder' });
  return found !== undefined;
}
