import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DataConfig, DataConfigValue, SourceConfig } from './config.ts';
import { dataError } from './errors.ts';
import { isImage } from './image.ts';
import { didYouMean } from '../util/suggest.ts';
import { each } from '../util/words.ts';

const configs = fileURLToPath(new URL('../../configs/', import.meta.url));

/** The file of a config that comes with qtool, by its name; undefined where there is none or a file of that name is nearer. */
export function namedConfig(name: string): string | undefined {
  if (!/^[\w-]+$/.test(name) || existsSync(name)) return undefined;
  const file = join(configs, `${name}.yaml`);
  return existsSync(file) ? file : undefined;
}

/** Names of the configs that come with qtool. */
export function configNames(): string[] {
  return existsSync(configs) ? readdirSync(configs).filter((f) => f.endsWith('.yaml')).map((f) => f.slice(0, -5)) : []; // prettier-ignore
}

/**
 * A config for data that is named without one: where it lies and of what kind it is, no preprocessing.
 * @throws QtoolError `data` where the path does not exist or its kind does not show.
 */
export function guessConfig(path: string): DataConfig {
  if (path === 'random') return wrap(path, { data: { kind: 'random' } });
  if (!existsSync(path)) {
    const known = [...configNames(), 'random'];
    throw dataError(`"${path}" does not exist${didYouMean(path, known)}`, undefined, `Give a data config, a folder of images, a file of data, or one of: ${known.join(', ')}.`); // prettier-ignore
  }
  const full = resolve(path);
  const source = guessSource(full);
  if (source === undefined)
    throw dataError('what kind of data this is does not show', path, 'Describe it in a data config (docs/data.md).');
  return wrap(full, { data: source });
}

const wrap = (path: string, value: DataConfigValue): DataConfig => ({
  file: path,
  folder: dirname(path),
  value,
  guessed: true,
  at: () => undefined,
});

const kinds: Readonly<Record<string, 'npy' | 'manifest' | 'parquet' | 'image-folder' | 'module'>> = {
  ...each('npy', '.npz .npy'),
  ...each('manifest', '.csv .tsv .jsonl'),
  '.parquet': 'parquet',
  '.tar': 'image-folder',
  ...each('module', '.js .mjs'),
};

/** Whether a file of this name can be given as data itself. */
export const isDataFile = (name: string): boolean =>
  extname(name) in kinds || /\.ya?ml$/.test(name) || (/idx\d/.test(basename(name)) && !isImage(name));

function guessSource(path: string): SourceConfig | undefined {
  if (statSync(path).isDirectory()) {
    const names = readdirSync(path);
    if (names.some((n) => n.startsWith('test_data_set_') || /^input_\d+\.pb$/.test(n))) return { kind: 'onnx', path };
    if (names.some((n) => n.endsWith('.parquet'))) return { kind: 'parquet', path };
    return { kind: 'image-folder', path };
  }
  const kind = kinds[extname(path)];
  if (kind !== undefined) return { kind, path };
  const name = basename(path);
  if (!/idx\d/.test(name) || isImage(path)) return undefined;
  // MNIST's naming: train-images-idx3-ubyte beside train-labels-idx1-ubyte.
  const labels = join(dirname(path), name.replace('images', 'labels').replace('idx3', 'idx1'));
  return existsSync(labels) && labels !== path ? { kind: 'idx', path, labels } : { kind: 'idx', path };
}
