import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ModelInput } from '../graph/query.ts';
import type { DataConfig, DataConfigValue, SourceConfig } from './config.ts';
import { dataError } from './errors.ts';
import { isImage } from './image.ts';
import type { Transforms } from './transforms.ts';
import { didYouMean } from '../util/suggest.ts';

const configs = fileURLToPath(new URL('../../configs/', import.meta.url));

/** The file of a config that comes with qtool, by its name; undefined where there is none or a file of that name is nearer. */
export function namedConfig(name: string): string | undefined {
  if (!/^[\w-]+$/.test(name) || existsSync(name)) return undefined;
  const file = join(configs, `${name}.yaml`);
  return existsSync(file) ? file : undefined;
}

function configNames(): string[] {
  return existsSync(configs) ? readdirSync(configs).filter((f) => f.endsWith('.yaml')).map((f) => f.slice(0, -5)) : []; // prettier-ignore
}

/**
 * A config for data that is named without one. Images are resized to what the model takes and scaled to 0..1, which is a guess
 * that the notes say.
 * @throws QtoolError `data` where the path does not exist or its kind does not show.
 */
export function guessConfig(path: string, inputs: readonly ModelInput[]): { config: DataConfig; notes: string[] } {
  if (path === 'random') return wrap(path, { data: { kind: 'random' } }, []);
  if (!existsSync(path)) {
    const known = [...configNames(), 'random'];
    throw dataError(`"${path}" does not exist${didYouMean(path, known)}`, undefined, `Give a data config, a folder of images, a file of data, or one of: ${known.join(', ')}.`); // prettier-ignore
  }
  const full = resolve(path);
  const source = guessSource(full);
  if (source === undefined)
    throw dataError('what kind of data this is does not show', path, 'Describe it in a data config (docs/data.md).');
  const images = source.kind === 'image-folder' || source.kind === 'manifest';
  const transforms = images ? guessTransforms(inputs) : undefined;
  const notes = transforms ? [guessNote(transforms)] : [];
  return wrap(full, transforms ? { data: source, transforms } : { data: source }, notes);
}

function guessNote({ center_crop: crop }: Transforms): string {
  const size = Array.isArray(crop) ? `resized to ${crop.join('x')} and ` : '';
  return `no preprocessing is described: images are ${size}scaled to 0..1, a guess that a data config replaces`;
}

const wrap = (path: string, value: DataConfigValue, notes: string[]): { config: DataConfig; notes: string[] } => ({
  config: { file: path, folder: dirname(path), value, at: () => undefined },
  notes,
});

function guessSource(path: string): SourceConfig | undefined {
  if (statSync(path).isDirectory()) {
    const names = readdirSync(path);
    if (names.some((n) => n.startsWith('test_data_set_') || /^input_\d+\.pb$/.test(n))) return { kind: 'onnx', path };
    if (names.some((n) => n.endsWith('.parquet'))) return { kind: 'parquet', path };
    return { kind: 'image-folder', path };
  }
  switch (extname(path)) {
    case '.npz':
    case '.npy':
      return { kind: 'npy', path };
    case '.csv':
    case '.tsv':
    case '.jsonl':
      return { kind: 'manifest', path };
    case '.parquet':
      return { kind: 'parquet', path };
    case '.tar':
      return { kind: 'image-folder', path };
    case '.js':
    case '.mjs':
      return { kind: 'module', path };
  }
  const name = basename(path);
  if (!/idx\d/.test(name) || isImage(path)) return undefined;
  // MNIST's naming: train-images-idx3-ubyte beside train-labels-idx1-ubyte.
  const labels = join(dirname(path), name.replace('images', 'labels').replace('idx3', 'idx1'));
  return existsSync(labels) && labels !== path ? { kind: 'idx', path, labels } : { kind: 'idx', path };
}

function guessTransforms(inputs: readonly ModelInput[]): Transforms {
  const dims = inputs[0]?.dims ?? [];
  const [height, width] = typeof dims[1] === 'number' && dims[1] <= 4 ? [dims[2], dims[3]] : [dims[1], dims[2]];
  if (typeof height !== 'number' || typeof width !== 'number') return { scale: '1/255' };
  const resize = height === width ? height : ([height, width] as [number, number]);
  return { resize, center_crop: [height, width], scale: '1/255' };
}
