import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import type { IndexedSource } from './source.ts';

/**
 * What decides the samples at these indexes: the source's recipe, the samples' names in order, and size and times of every file
 * they are read from. Contents are not read: that would cost what a fingerprint is to save. The time of the last status change is
 * in it because a copy may set the time of modification back, but not that one.
 *
 * @returns SHA-256 in hexadecimal; undefined for a source without a recipe, of which nothing is known.
 */
export function fingerprintOf(source: IndexedSource, order: Iterable<number>): string | undefined {
  if (source.recipe === undefined) return undefined;
  const hash = createHash('sha256').update(source.recipe);
  const known = new Set<string>();
  for (const index of order) {
    hash.update(`\n${source.identity(index)}`);
    for (const file of source.files?.(index) ?? []) {
      if (known.has(file)) continue;
      known.add(file);
      hash.update(`\t${file} ${stampOf(file)}`);
    }
  }
  return hash.digest('hex');
}

/** Size and times of a file. One that cannot be read has none: whoever reads it says why. */
export function stampOf(file: string): string {
  const facts = statSync(file, { throwIfNoEntry: false });
  return facts === undefined ? 'gone' : `${facts.size} ${facts.mtimeMs} ${facts.ctimeMs}`;
}
