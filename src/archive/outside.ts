import { normalize, sep } from 'node:path';
import { QtoolError } from '../util/error.ts';

/**
 * A path of external data as it may be read or written: one below the model's folder, whoever wrote the model.
 * @throws QtoolError('model') for absolute paths and those that lead out.
 */
export function pathBelow(path: string, at: string): string {
  const clean = normalize(path.replaceAll('\\', '/'));
  if (path === '' || /^[A-Za-z]:|^[/\\]|\0/.test(path) || clean === '..' || clean.startsWith(`..${sep}`))
    throw new QtoolError('model', `external data at "${path}" lies outside the model's folder`, {
      at,
      hint: 'put the data file beside the model and name it without a path',
    });
  return clean;
}
