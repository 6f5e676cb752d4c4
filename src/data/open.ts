import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { ModelInput } from '../graph/query.ts';
import type { Path } from '../util/yaml.ts';
import { metricConfigs, parseDataConfig, type DataConfig, type SourceConfig } from './config.ts';
import { indexedDataset, noDataset, streamDataset } from './dataset.ts';
import { dataError } from './errors.ts';
import { guessConfig, namedConfig } from './guess.ts';
import { openIdx } from './idx.ts';
import { openImageFolder } from './image_folder.ts';
import { openNpy } from './npy_source.ts';
import { calibrationShare, inOrder, shuffled } from './order.ts';
import { findPath } from './paths.ts';
import type { IndexedSource, Opening, Source, StreamSource } from './source.ts';
import type { Dataset, RunData } from './types.ts';

export interface OpenOptions {
  /** The folder that relative paths of the config start from (`--data-root`). */
  readonly root?: string | undefined;
  /** At most so many calibration and validation samples, whatever the config says. */
  readonly calibrationSamples?: number | undefined;
  readonly validationSamples?: number | undefined;
  /** Number of classes the model tells apart, where known: labels are checked against it. */
  readonly classes?: number | undefined;
  /** Goes before the config's seed. */
  readonly seed?: number | undefined;
  /** `validation`: no calibration set is opened, and one that is given alone is not split (`qtool eval`). Default: both. */
  readonly part?: 'both' | 'validation' | undefined;
}

/**
 * Opens the data of a run: a parsed config, the path of a config, the name of one that comes with qtool, the path of data whose
 * kind shows (a folder of images, .npz, .csv …), or `random`.
 * @throws QtoolError `data` for anything that is missing, does not fit the model's inputs, or is empty.
 */
export async function openData(
  configOrPath: DataConfig | string,
  inputs: readonly ModelInput[],
  options: OpenOptions = {},
): Promise<RunData> {
  const { config, notes: guessed } = typeof configOrPath === 'string' ? readConfig(configOrPath, inputs) : { config: configOrPath, notes: [] }; // prettier-ignore
  const { value } = config;
  const seed = options.seed ?? value.seed ?? 0;
  const root = options.root === undefined ? resolve(config.folder, value.root ?? '.') : resolve(options.root);
  const open = async (source: SourceConfig, key: string): Promise<Source> => {
    const own = 'transforms' in source ? source.transforms : undefined;
    const at = (...path: Path): string | undefined => config.at([key, ...path]);
    const opened = await openSource(source, {
      inputs,
      classes: options.classes,
      seed,
      transforms: { ...value.transforms, ...own },
      at,
      find: (path, ...place) => findPath(path, root, config.folder, at(...place)),
    });
    if (opened.length === 0) throw dataError(`${source.kind} "${opened.source}" has no samples`, at() ?? opened.source);
    return opened;
  };
  const makers = { inputs, classes: options.classes, seed, options };
  const only = value.data ?? (value.calibration ? undefined : value.validation);
  const sets =
    only !== undefined
      ? splitSource(await open(only, value.data ? 'data' : 'validation'), only, value.split?.calibration, makers)
      : await twoSources(value.calibration!, value.validation!, open, makers);
  return {
    ...sets,
    notes: [...guessed, ...sets.notes],
    metrics: metricConfigs(config),
    folder: root,
    batchSize: value.batch_size,
  };
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
    default:
      throw dataError(`${source.kind} cannot be read yet`, opening.at('kind'));
  }
}

interface Makers {
  readonly inputs: readonly ModelInput[];
  readonly classes: number | undefined;
  readonly seed: number;
  readonly options: OpenOptions;
}
type Sets = Pick<RunData, 'calibration' | 'validation' | 'notes'>;

const shuffles = (config: SourceConfig): boolean => !('shuffle' in config) || config.shuffle !== false;
const atMost = (...limits: (number | undefined)[]): number => Math.min(...limits.map((limit) => limit ?? Infinity));

/** One set for both: a seeded part of it is calibration, the rest validation. */
function splitSource(source: Source, config: SourceConfig, share: number | undefined, makers: Makers): Sets {
  const { options } = makers;
  const total = atMost(source.length, config.samples);
  const wanted = share === undefined ? calibrationShare(total) : share < 1 ? Math.floor(total * share) : share;
  const split = options.part !== 'validation' && source.kind !== 'random';
  const count = split ? Math.max(1, wanted) : 0;
  if (split && count >= total) {
    const message = `${total} samples cannot be split into ${count} for calibration and some for validation`;
    throw dataError(message, source.source, 'Give calibration and validation sets of their own.');
  }
  const words = `one set was given: ${count} of its ${total} samples (seed ${makers.seed}) are for calibration, the other ${total - count} for validation`; // prettier-ignore
  const notes = split ? [words] : [];
  if (source.access === 'stream') return { ...splitStream(source, count, total, makers), notes };
  const order = (shuffles(config) || split ? shuffled(source.length, makers.seed) : inOrder(source.length)).subarray(
    0,
    total,
  );
  const validation = indexedDataset(
    source,
    visit(source, config, order.subarray(count), options.validationSamples),
    makers,
  );
  if (source.kind === 'random') {
    // Random input has no answers: the same distribution, other numbers, and nothing that could leak.
    return {
      calibration: indexedDataset(source, order.subarray(0, options.calibrationSamples), makers),
      validation,
      notes: [],
    };
  }
  const calibration = split
    ? indexedDataset(source, order.subarray(0, atMost(count, options.calibrationSamples)), makers)
    : noDataset(validation.info);
  return { calibration, validation, notes };
}

/** The order of a validation set: shuffled, so that a part of it is fair, except where reading would suffer. */
function visit(
  source: IndexedSource,
  config: SourceConfig,
  order: Uint32Array,
  limit: number | undefined,
): Uint32Array {
  const taken = order.subarray(0, limit);
  return source.sequential === true || !shuffles(config) ? taken.slice().sort() : taken;
}

/** A stream is split sample by sample: each is calibration with the chance that gives the wanted number. */
function splitStream(source: StreamSource, count: number, total: number, makers: Makers): Omit<Sets, 'notes'> {
  const { options, seed } = makers;
  const chosen = new Set(shuffled(total, seed).subarray(0, count));
  const calibration = streamDataset(source, (i) => chosen.has(i), atMost(count, options.calibrationSamples), makers);
  const validation = streamDataset(source, (i) => i < total && !chosen.has(i), atMost(total - count, options.validationSamples), makers); // prettier-ignore
  return { calibration: count === 0 ? noDataset(validation.info) : calibration, validation };
}

/** Two sets of their own; samples of both are taken out of calibration. */
async function twoSources(
  first: SourceConfig,
  second: SourceConfig,
  open: (source: SourceConfig, key: string) => Promise<Source>,
  makers: Makers,
): Promise<Sets> {
  const { options, seed } = makers;
  const source = await open(second, 'validation');
  const validation = ordered(source, second, options.validationSamples, makers, undefined);
  if (options.part === 'validation') return { calibration: noDataset(validation.dataset.info), validation: validation.dataset, notes: [] }; // prettier-ignore
  const other = await open(first, 'calibration');
  const { dataset, removed } = ordered(
    other,
    first,
    options.calibrationSamples,
    { ...makers, seed: seed + 1 },
    validation.identities,
  );
  if (dataset.info.samples === 0) {
    const message = 'calibration and validation are the same samples';
    throw dataError(message, other.source, 'Give the set once, as `data`: it is then split.');
  }
  const notes = removed > 0 ? [`${removed} samples stand in both sets: they were taken out of calibration`] : [];
  return { calibration: dataset, validation: validation.dataset, notes };
}

function ordered(
  source: Source,
  config: SourceConfig,
  limit: number | undefined,
  makers: Makers,
  exclude: ReadonlySet<string> | undefined,
): { readonly dataset: Dataset; readonly removed: number; readonly identities: ReadonlySet<string> | undefined } {
  const most = atMost(source.length, config.samples, limit);
  if (source.access === 'stream')
    return { dataset: streamDataset(source, () => true, most, makers), removed: 0, identities: undefined };
  let order = shuffles(config) ? shuffled(source.length, makers.seed) : inOrder(source.length);
  const before = order.length;
  if (exclude) order = order.filter((index) => !exclude.has(source.identity(index)));
  const taken = visit(source, config, order, most);
  const dataset = indexedDataset(source, taken, makers);
  return { dataset, removed: before - order.length, identities: new Set(Array.from(taken, (i) => source.identity(i))) };
}
