import { existsSync, readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { ModelInput } from '../graph/query.ts';
import type { Modules } from '../util/module.ts';
import type { Path } from '../util/yaml.ts';
import { metricConfigs, parseDataConfig, type DataConfig, type SourceConfig } from './config.ts';
import { dataError } from './errors.ts';
import { stampOf } from './fingerprint.ts';
import { guessConfig, namedConfig } from './guess.ts';
import { openIdx } from './idx.ts';
import { openImageFolder } from './image_folder.ts';
import { openNpy } from './npy_source.ts';
import { fixedBatch, withSizes, type AxisSizes } from './layout.ts';
import { openManifest } from './manifest.ts';
import { openMemory } from './memory.ts';
import { openModule } from './module.ts';
import { openOnnxTests } from './onnx_tests.ts';
import { openParquet } from './parquet.ts';
import { findPath } from './paths.ts';
import { hasArithmetic, transformsFor, undecided, undecidedError, type Decide } from './preprocess.ts';
import { openRandom } from './random.ts';
import { recipesToTry } from './recipe_steps.ts';
import type { Opening, Source } from './source.ts';
import {
  calibratedOnTraining,
  least,
  splitSet,
  twoSets,
  wholeSet,
  withTraining,
  type Sets,
  type SplitOptions,
} from './split.ts';
import { sequenceInputs } from './steps.ts';
import { openText } from './text_source.ts';
import type { Transforms } from './transforms.ts';
import type { RunData } from './types.ts';
import { openWav } from './wav_source.ts';

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
  /** What becomes of modules that the config names, metrics among them. */
  readonly modules?: Modules;
  /** Goes before the config's seed. */
  readonly seed?: number | undefined;
  /** `validation`: no calibration set is opened, and one that is given alone is not split (`qtool eval`). Default: both. */
  readonly part?: 'both' | 'validation' | undefined;
  /** Whether training samples are wanted: without it they are looked at only where calibration samples are taken of them. */
  readonly training?: boolean | undefined;
  /** The name of a recipe (`recipes.ts`) in place of the config's transforms, of which only how arrays lie is kept. */
  readonly preprocess?: string | undefined;
  /** Steps that go before those of the config and the recipe. */
  readonly transforms?: Transforms | undefined;
  /** Sizes of the model's free axes: samples of others do not fit it. Where the batch axis is among them, runs take so many samples. */
  readonly dims?: AxisSizes | undefined;
  /** Ends the counting of samples that programs and modules give. */
  readonly signal?: AbortSignal | undefined;
  /** Asked where 8-bit images have no preprocessing. Without it they are refused. */
  readonly decide?: Decide | undefined;
}

/**
 * Opens the data of a run: a parsed config, the path of a config, the name of one that comes with qtool, the path of data whose
 * kind shows (a folder of images, .npz, .csv …), or `random`. One sample of each set is read and checked against the model.
 * @throws QtoolError `data` for anything that is missing, does not fit the model's inputs, or is empty.
 */
export async function openData(
  configOrPath: DataConfig | string,
  given: readonly ModelInput[],
  options: OpenOptions = {},
): Promise<RunData> {
  const config = typeof configOrPath === 'string' ? readConfig(configOrPath) : configOrPath;
  const { value } = config;
  const sized = withSizes(given, options.dims);
  const sequences = value.state && sequenceInputs(sized, options.outputs ?? [], value.state, config.at);
  const inputs = sequences?.inputs ?? sized;
  let sets = await openSets(config, inputs, options);
  const decided: string[] = [];
  if (sets.undecided) {
    const labelled = sets.validation.info.labelled || sets.calibration.info.labelled;
    const refusal = undecidedError(config, inputs, labelled);
    if (!options.decide) throw refusal;
    // Where calibration data is given it is what a recipe is chosen on, also where only validation data is wanted.
    const part = (value.calibration ?? value.training) && value.validation ? 'both' : options.part;
    const all = { ...options, part, training: false, calibrationSamples: undefined, validationSamples: undefined };
    const decision = await options.decide({
      recipes: recipesToTry(inputs),
      labelled,
      refusal,
      at: config.file,
      open: (preprocess) => openSets(config, inputs, { ...all, preprocess }),
    });
    decided.push(...decision.notes);
    sets = await openSets(config, inputs, { ...options, preprocess: decision.recipe });
  }
  // What does not fit the model shows on the first sample: before any work, not in the middle of it.
  const { training } = sets;
  const first = training?.epoch(0, { seed: 0 });
  for (const set of [sets.validation, sets.calibration, ...(first ? [first] : [])])
    for await (const _ of set.samples(1)) break;
  return {
    calibration: sets.calibration,
    validation: sets.validation,
    ...(training ? { training } : {}),
    notes: [...decided, ...sets.notes],
    metrics: metricConfigs(config),
    folder: config.folder,
    modules: options.modules,
    sequences,
    batchSize: sequences ? 1 : (fixedBatch(inputs) ?? value.batch_size),
  };
}

/** @returns the sets, and whether they are images that nothing says the preprocessing of. */
async function openSets(
  config: DataConfig,
  inputs: readonly ModelInput[],
  options: OpenOptions,
): Promise<Sets & { readonly undecided: boolean }> {
  const { value } = config;
  let asks = false;
  const described = (options.preprocess ?? value.preprocess) !== undefined || hasArithmetic(options.transforms);
  const seed = options.seed ?? value.seed ?? 0;
  const root = options.root === undefined ? resolve(config.folder, value.root ?? '.') : resolve(options.root);
  const split: SplitOptions = { ...options, inputs, seed };
  const open: Open = async (source, key, own = seed, most = undefined) => {
    const at = (...path: Path): string | undefined => config.at([...(typeof key === 'string' ? [key] : key), ...path]);
    const transforms = transformsFor(config, source, inputs, options);
    const named: string[] = [];
    const opened = await openSource(source, {
      inputs,
      outputs: options.outputs ?? [],
      classes: options.classes,
      seed: own,
      modules: options.modules,
      transforms,
      most: least(most, 'samples' in source ? source.samples : undefined),
      signal: options.signal,
      at,
      find(path, ...place) {
        const found = findPath(path, root, config.folder, at(...place));
        named.push(found);
        return found;
      },
    });
    if (opened.length === 0) throw dataError(`${source.kind} "${opened.source}" has no samples`, at());
    asks ||= !described && undecided(config, source, opened);
    const files = named.filter((path) => statSync(path).isFile()).map((path) => `${path} ${stampOf(path)}`);
    const recipe = source.kind === 'memory' ? '' : JSON.stringify([source, transforms, own, inputs, files]);
    return [{ ...opened, recipe }, source];
  };
  const sets = await openParts(value, options, seed, split, open);
  return { ...sets, undecided: asks };
}

/** Opens a part of a config; `most`: how many of its samples will be looked at, where that is known. */
type Open = (
  source: SourceConfig,
  key: string | Path,
  seed?: number,
  most?: number,
) => Promise<readonly [Source, SourceConfig]>;

async function openParts(
  value: DataConfig['value'],
  { part, training: wanted = false }: OpenOptions,
  seed: number,
  split: SplitOptions,
  open: Open,
): Promise<Sets> {
  const { training, validation, calibration } = value;
  const fromTraining = part !== 'validation' && training !== undefined && validation !== undefined && !calibration;
  const judged = await openJudged(value, fromTraining ? 'validation' : part, seed, split, open);
  if (!wanted && !fromTraining) return { ...judged, training: undefined };
  if (training === undefined) return judged;
  const several = Array.isArray(training);
  const given: (readonly [Source, SourceConfig])[] = [];
  for (const [i, source] of (several ? (training as readonly SourceConfig[]) : [training as SourceConfig]).entries())
    given.push(await open(source, several ? ['training', i] : 'training', seed + 2 + i));
  const sets = fromTraining ? calibratedOnTraining(judged, given, split) : judged;
  return wanted ? withTraining(sets, given, split) : sets;
}

/** The sets that a model is calibrated on and judged by, and training samples where they are split off. */
async function openJudged(
  { data, calibration, validation, split: shares = {} }: DataConfig['value'],
  part: OpenOptions['part'],
  seed: number,
  split: SplitOptions,
  open: Open,
): Promise<Sets> {
  const { calibrationSamples: first, validationSamples: second } = split;
  // Where a part is for training it is never judged on, not even by itself.
  const splits = shares.training !== undefined;
  if (part === 'validation' && !splits)
    return wholeSet(...(await open((validation ?? data)!, validation ? 'validation' : 'data', seed, second)), split);
  if (calibration && validation)
    return twoSets(
      await open(calibration, 'calibration', seed + 1, first),
      await open(validation, 'validation', seed, second),
      split,
    );
  const [only, key] = data ? [data, 'data'] : [validation!, 'validation'];
  // Random input has no answers that could leak: two sets of the same kind and size.
  if (only.kind === 'random' && !splits) return twoSets(await open(only, key, seed + 1), await open(only, key), split);
  return splitSet(...(await open(only, key)), shares, split);
}

function readConfig(path: string): DataConfig {
  const file = /\.ya?ml$/.test(path) ? path : namedConfig(path);
  if (file === undefined) return guessConfig(path);
  if (!existsSync(file)) throw dataError(`the data config "${path}" does not exist`);
  return parseDataConfig(readFileSync(file, 'utf8'), file);
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
    case 'memory':
      return openMemory(source, opening);
    case 'text':
      return openText(source, opening);
    case 'wav':
      return openWav(source, opening);
    case 'random':
      return openRandom(source, opening);
  }
}
