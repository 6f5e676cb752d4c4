import { readFile, readdir, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { passes } from '../passes/index.ts';
import { processorFlags } from '../runtime/processor.ts';
import { fits, parseTarget, type Target } from '../schedule/target.ts';
import { QtoolError } from '../util/error.ts';
import { didYouMean } from '../util/suggest.ts';

const folder = fileURLToPath(new URL('../../configs/targets/', import.meta.url));

/** Names that `--target` takes besides paths and `auto`. */
export async function namedTargets(): Promise<string[]> {
  const files = await readdir(folder).catch(() => []);
  return files.filter((file) => file.endsWith('.yaml')).map((file) => basename(file, '.yaml'));
}

const read = async (path: string): Promise<Target> =>
  parseTarget(await readFile(path, 'utf8'), path, basename(path, extname(path)), passes);

/**
 * The target given by path or by name; `auto` is the one that this machine is. Undefined where none is given.
 * @throws QtoolError('usage') where there is no such target, or none that fits this machine.
 */
export async function findTarget(given: string | undefined): Promise<Target | undefined> {
  if (given === undefined) return undefined;
  const info = await stat(given).catch(() => undefined);
  if (info?.isFile()) return read(given);
  const names = await namedTargets();
  if (names.includes(given)) return read(join(folder, `${given}.yaml`));
  const hint = `give a YAML file, or one of: auto, ${names.join(', ')}`;
  if (given !== 'auto') throw new QtoolError('usage', `no such target${didYouMean(given, names)}`, { at: given, hint });
  const flags = await processorFlags();
  for (const name of names) {
    const target = await read(join(folder, `${name}.yaml`));
    // Without a list of flags nothing may be taken for absent.
    if (fits(target, process.arch, flags) && (flags.size > 1 || target.cpu?.without.length === 0)) return target;
  }
  throw new QtoolError('usage', `no target is known to fit this machine (${process.platform} ${process.arch})`, {
    at: given,
    hint,
  });
}
