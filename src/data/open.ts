import { existsSync, readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { ModelInput } from '../graph/query.ts';
import type { Path } from '../util/yaml.ts';
import { metricConfigs, parseDataConfig, type DataConfig, type SourceConfig } from './config.ts';
import { dataError } from './errors.ts';
import { stampOf } from './fingerprint.ts';
import { guessConfig, namedConfig } from './guess.ts';
import { openIdx } from './idx.ts';
import { openImageFolder } from './image_folder.ts';
import { openNpy } from './npy_source.ts';
import { openManifest } from './manifest.ts';
import { openModule } from './module.ts';
import { openOnnxTests } from './onnx_tests.ts';
import { openParquet } from './parquet.ts';
import { findPath } from './paths.ts';
import { openRandom } from './random.ts';
import type { Opening, Source } from './source.ts';
import { splitSet, twoSets, wholeSet, type Sets, type SplitOptions } from './split.ts';
import type { RunData } from './types.ts';

export interface OpenOptions {
  /** The folder that relative paths of the config start from (`--data-root`). */
  readonly root?: string | undefined;
  /** At most so many calibration and validation samples, whatever the config says. */
  readonly calibrationSamples?: number | undefined;
  readonly validationSamples?: number | undefined;
  /** Number of classes the model tells apart, where known: labels are checked against it. */
  readonly classes?: number | undefined;
  /** Names of the model's outputs, where known: ONNX test data without names goes by their order. */
  readonly outputs?: readonly string[] | undefined;
  /** Goes before the config's seed. */
  readonly seed?: number | undefined;
  /** `validation`: no calibration set is opened, and one that is given alone is not split (`qtool eval`). Default: both. */
  readonly part?: 'both' | 'validation' | undefined;
}

/**
 * Opens the data of a run: a parsed config, the path of a config, the name of one that comes with qtool, the path of data whose
 * kind shows (a folder of images, .npz, .csv …), or `random`. One sample of each set is read and checked against the model.
 * @throws QtoolError `data` for anything that is missing, does not fit the model's inputs, or is empty.
 */
export async function openData(
  configOrPath: DataConfig | string,
  inputs: readonly ModelInput[],
  options: OpenOptions = {},
): Promise<RunData> {
  const { config, notes } =
    typeof configOrPath === 'string' ? readConfig(configOrPath, inputs) : { config: configOrPath, notes: [] };
  const { value } = config;
  const sets = await openSets(config, inputs, options);
  // What does not fit the model shows on the first sample: before any work, not in the middle of it.
  for (const set of [sets.validation, sets.calibration]) for await (const _ of set.samples(1)) break;
  return {
    ...sets,
    notes: [...notes, ...sets.notes],
    metrics: metricConfigs(config),
    folder: config.folder,
    batchSize: value.batch_size,
  };
}

async function openSets(config: DataConfig, inputs: readonly ModelInput[], options: OpenOptions): Promise<Sets> {
  const { value } = config;
  const seed = options.seed ?? value.seed ?? 0;
  const root = options.root === undefined ? resolve(config.folder, value.root ?? '.') : resolve(options.root);
  const split: SplitOptions = { ...options, inputs, seed };
  const open = async (source: SourceConfig, key: string, own = seed): Promise<readonly [Source, SourceConfig]> => {
    const at = (...path: Path): string | undefined => config.at([key, ...path]);
    const transforms = { ...value.transforms, ...('transforms' in source ? source.transforms : undefined) };
    const named: string[] = [];
    const opened = await openSource(source, {
      inputs,
      outputs: options.outputs ?? [],
      classes: options.classes,
      seed: own,
      transforms,
      at,
      find(path, ...place) {
        const found = findPath(path, root, config.folder, at(...place));
        named.push(found);
        return found;
      },
    });
    if (opened.length === 0) throw dataError(`${source.kind} "${opened.source}" has no samples`, at());
    const files = named.filter((path) => statSync(path).isFile()).map((path) => `${path} ${stampOf(path)}`);
    return [{ ...opened, recipe: JSON.stringify([source, transforms, own, inputs, files]) }, source];
  };
  const { data, calibration, validation } = value;
  if (options.part === 'validation') return wholeSet(...(await open((validation ?? data)!, validation ? 'validation' : 'data')), split); // prettier-ignore
  if (calibration && validation)
    return twoSets(await open(calibration, 'calibration', seed + 1), await open(validation, 'validation'), split);
  const [only, key] = data ? [data, 'data'] : [validation!, 'validation'];
  // Random input has no answers that could leak: two sets of the same kind and size.
  if (only.kind === 'random') return twoSets(await open(only, key, seed + 1), await open(only, key), split);
  return splitSet(...(await open(only, key)), value.split?.calibration, split);
}

function readConfig(
  path: string,
  inputs: readonly ModelInput[],
): { readonly config: DataConfig; readonly notes: readonly string[] } {
  const file = /\.ya?ml$/.test(path) ? path : namedConfig(path);
  if (file === undefined) return guessConfig(path, inputs);
  if (!existsSync(file)) throw dataError(`the data config "${path}" does not exist`);
  return { config: parseDataConfig(readFileSync(file, 'utf8'), file), notes: [] };
}

function openSource(source: SourceConfig, opening: Opening): Source | Promise<Source> {
  switch (source.kind) {
    case 'image-folder':
      return openImageFolder(source, opening);
    case 'idx':
      return openIdx(source, opening);
    case 'npy':
      return openNpy(source, opening);
    case 'manifest':
      return openManifest(source, opening);
    case 'parquet':
      return openParquet(source, opening);
    case 'onnx':
      return openOnnxTests(source, opening);
    case 'module':
      return openModule(source, opening);
    case 'random':
      return openRandom(source, opening);
  }
}
