import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import { didYouMean } from '../util/suggest.ts';
import { dataError } from './errors.ts';

/** The folder of a package that is installed for `from`, looked up as Node does: in node_modules, folder by folder upwards. */
function packageFolder(name: string, from: string): string | undefined {
  for (let folder = resolve(from); ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name);
    if (existsSync(candidate)) return candidate;
    if (dirname(folder) === folder) return undefined;
  }
}

/**
 * The absolute path of what a config names: absolute, relative to `root` or else to the config's `folder`, or `npm:package/path` for a file of an installed
 * package, looked up from that folder and then from the working directory. A folder and the .tar archive of it stand
 * for each other, whichever is there.
 * @throws QtoolError `data` where it does not exist.
 */
export function findPath(path: string, root: string, folder: string, at: string | undefined): string {
  if (path.startsWith('npm:')) {
    const parts = path.slice(4).split('/');
    const name = parts.splice(0, path.startsWith('npm:@') ? 2 : 1).join('/');
    const home = packageFolder(name, folder) ?? packageFolder(name, process.cwd());
    if (home === undefined) throw dataError(`the npm package "${name}" is not installed`, at ?? path, `npm install ${name}`); // prettier-ignore
    return existing(join(home, ...parts), path, at);
  }
  const [beside, below] = [resolve(folder, path), resolve(root, path)];
  const full = !isAbsolute(path) && existsSync(beside) && !existsSync(below) ? beside : below;
  return existing(full, path, at);
}

function existing(full: string, path: string, at: string | undefined): string {
  if (existsSync(full)) return full;
  const twin = full.endsWith('.tar') ? full.slice(0, -4) : `${full}.tar`;
  if (existsSync(twin)) return twin;
  let parent = dirname(full);
  while (!existsSync(parent)) parent = dirname(parent);
  const missing = full.slice(parent.length + 1).split(/[/\\]/)[0] ?? basename(full);
  const near = didYouMean(missing, readdirSync(parent));
  const message = `"${path}" does not exist: there is no "${missing}" in ${parent}${near}`;
  throw dataError(message, at, 'Paths start from `root` or --data-root; without them from the folder of the config.');
}
