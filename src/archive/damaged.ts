import { QtoolError } from '../util/error.ts';

/** Ends the reading of an archive. @param what is wrong @param at the tensor or file it is wrong with */
export function damaged(what = 'it contradicts itself', at?: string): never {
  throw new QtoolError('model', `the archive is damaged: ${what}`, { at, hint: 'get or make it again' });
}
