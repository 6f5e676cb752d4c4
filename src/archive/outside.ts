import { QtoolError } from '../util/error.ts';

/**
 * A path of external data as it may be read or written: one below the model's folder, whoever wrote the model.
 * @throws QtoolError('model') for absolute paths and those that lead out.
 */
export function pathBelow(path: string, at: string): string {
  const clean = cleanLocation(path);
  if (path === '' || /^[A-Za-z]:|^[/\\]|\0/.test(path) || clean === '..' || clean.startsWith('../'))
    throw new QtoolError('model', `external data at "${path}" lies outside the model's folder`, {
      at,
      hint: 'put the data file beside the model and name it without a path',
    });
  return clean;
}

/** A location without `.`, empty and `..` steps where these can be gone: two that name one file are the same text. No more than text, for browsers too. */
export function cleanLocation(path: string): string {
  const steps: string[] = [];
  for (const [i, step] of path.replaceAll('\\', '/').split('/').entries()) {
    if (step === '..' && steps.length > 0 && steps.at(-1) !== '..' && steps.at(-1) !== '') steps.pop();
    // The first empty one is the root of an absolute path.
    else if (step !== '.' && (step !== '' || (i === 0 && path !== ''))) steps.push(step);
  }
  return steps.join('/');
}
