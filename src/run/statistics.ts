import { createHash } from 'node:crypto';
import { readdir, readFile, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import * as z from 'zod';
import type { Keeping } from '../passes/pass.ts';
import { makeFolder } from '../util/folder.ts';

/** Statistics of the calibration data in a run folder, for the next run there. */
export interface StatisticsStore {
  /**
   * The results kept for the same facts; where there are none, those of `collect`, which are then kept.
   * @param facts everything the results depend on, as plain data.
   */
  recall<R>(facts: StatisticsFacts, keeping: Keeping<R>, collect: () => Promise<Results<R>>): Promise<Results<R>>;
  /** Takes away what this run kept. */
  discard(): Promise<void>;
}

/** What a collection depends on. Everything in it is part of the fingerprint. */
export interface StatisticsFacts {
  readonly tool: Readonly<Record<string, string>>;
  /** SHA-256 of the model, and the fingerprint of the samples. */
  readonly model: string;
  readonly data: string;
  readonly samples: number;
  readonly options: Readonly<Record<string, unknown>>;
  /** Values and the names of their folds, in order. */
  readonly wanted: readonly (readonly [value: string, folds: readonly string[]])[];
}

type Results<R> = Map<string, R[]>;

/** Files that are left lying for later runs; the oldest go. */
const mostFiles = 16;
const fileName = /^[0-9a-f]{64}\.json(\.part)?$/;

/**
 * Keeps statistics in a folder, one file a fingerprint. A file is believed only where its name, its fingerprint, its checksum and
 * its shape are right; files are put in place in one step.
 * @param note is told in one line what was reused, and what could not be.
 */
export function statisticsStore(folder: string, note: (text: string) => void): StatisticsStore {
  const own = new Set<string>();
  // As much of a hash as tells it from others.
  const nameIn = (path: string): string => `${basename(folder)}/${basename(path).slice(0, 8)}….json`;
  const told = new Set<string>();
  const once = (text: string): void => {
    if (!told.has(text)) note(text);
    told.add(text);
  };
  return {
    async recall(facts, keeping, collect) {
      const fingerprint = sha256(JSON.stringify([facts, keeping.options]));
      const path = join(folder, `${fingerprint}.json`);
      const found = await read(path, fingerprint, facts, keeping);
      if (found instanceof Map) {
        if (!own.has(path))
          once(`statistics of ${facts.samples} samples from an earlier run (in ${basename(folder)}/)`);
        return found;
      }
      if (found !== undefined) once(`${nameIn(path)} is not what was kept there (${found}): collected anew`);
      const results = await collect();
      try {
        await write(path, fingerprint, results, keeping);
        own.add(path);
        await thin(folder);
      } catch (error) {
        once(`the statistics could not be kept: ${(error as Error).message}`);
      }
      return results;
    },
    async discard() {
      for (const path of own) await remove(path);
      // Removes an empty folder only: what earlier runs kept stays.
      await rmdir(folder).catch(() => undefined);
    },
  };
}

const remove = (path: string): Promise<void> => rm(path, { force: true });

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

const fileSchema = z.strictObject({
  format: z.literal(1),
  fingerprint: z.string(),
  /** SHA-256 of `values` as JSON. */
  sha256: z.string(),
  values: z.array(z.tuple([z.string(), z.array(z.unknown())])),
});

/** The results in a file; undefined where there is none, a reason where it is not to be believed. */
async function read<R>(
  path: string,
  fingerprint: string,
  { wanted }: StatisticsFacts,
  { schema }: Keeping<R>,
): Promise<Results<R> | string | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? undefined : (error as Error).message;
  }
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch {
    return 'it is no whole JSON';
  }
  const file = fileSchema.safeParse(given);
  if (!file.success) return 'it has another form';
  const { values, ...head } = file.data;
  if (head.fingerprint !== fingerprint) return 'it is of another fingerprint';
  if (head.sha256 !== sha256(JSON.stringify(values))) return 'its checksum is wrong';
  const results = z.map(z.string(), z.array(schema)).safeParse(new Map(values));
  const fits = wanted.every(([value, folds]) => results.data?.get(value)?.length === folds.length);
  return results.success && fits && results.data.size === wanted.length ? results.data : 'it has other values';
}

async function write<R>(path: string, fingerprint: string, results: Results<R>, keeping: Keeping<R>): Promise<void> {
  const values = [...results].map(([value, list]) => [value, list.map((one) => keeping.plain(one))]);
  const file = { format: 1, fingerprint, sha256: sha256(JSON.stringify(values)), values };
  await makeFolder(dirname(path));
  await writeFile(`${path}.part`, `${JSON.stringify(file)}\n`);
  await rename(`${path}.part`, path);
}

/** Lets the newest files lie. What an interrupted run left half written goes as well. */
async function thin(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => fileName.test(name));
  for (const name of names.filter((one) => one.endsWith('.part'))) await remove(join(folder, name));
  const whole = names.filter((name) => name.endsWith('.json'));
  const times = await Promise.all(whole.map(async (name) => [(await stat(join(folder, name))).mtimeMs, name] as const));
  for (const [, name] of times.sort(([a], [b]) => b - a).slice(mostFiles)) await remove(join(folder, name));
}
