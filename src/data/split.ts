import type { SourceConfig } from './config.ts';
import { indexedDataset, noDataset, streamDataset, type Wanted } from './dataset.ts';
import { dataError } from './errors.ts';
import { inOrder, mix, shuffled } from './order.ts';
import type { IndexedSource, Source } from './source.ts';
import { chosenOf, indexedTraining, streamTraining, type Part } from './training.ts';
import type { Dataset, RunData } from './types.ts';
import { uniform } from '../util/uniform.ts';

export interface Sets extends Pick<RunData, 'calibration' | 'validation' | 'training' | 'notes'> {
  /** What the samples are that the model is judged on, whether looked at or not: none of them is trained on. */
  readonly judged: () => ReadonlySet<string>;
}

/** What of one set is for what else than validation: below 1 a share of the samples, else their number. */
export interface Shares {
  /** By default a fifth, at most 512. */
  readonly calibration?: number | undefined;
  readonly training?: number | undefined;
}

export interface SplitOptions extends Wanted {
  readonly seed: number;
  /** At most so many samples of each set. */
  readonly calibrationSamples?: number | undefined;
  readonly validationSamples?: number | undefined;
}

const shuffles = (config: SourceConfig): boolean => !('shuffle' in config) || config.shuffle !== false;
export const least = (...limits: (number | undefined)[]): number =>
  Math.min(...limits.map((limit) => limit ?? Infinity));

/** All indexes of a source in the order they are taken: seeded, so that every part is fair, or that of the files. */
function taken(source: IndexedSource, config: SourceConfig, seed: number): Uint32Array {
  return shuffles(config) ? shuffled(source.length, seed) : inOrder(source.length);
}

/** The samples of a source at these indexes; in the order of the files where any other costs too much. */
function datasetOf(source: IndexedSource, order: Uint32Array, options: SplitOptions): Dataset {
  return indexedDataset(source, source.blocks !== undefined ? order.slice().sort() : order, options);
}

/** A set by itself, for validation; without a calibration set. */
export function wholeSet(source: Source, config: SourceConfig, options: SplitOptions): Sets {
  const count = least(source.length, config.samples, options.validationSamples);
  const validation =
    source.access === 'stream'
      ? streamDataset(source, () => true, count, options)
      : datasetOf(source, taken(source, config, options.seed).subarray(0, count), options);
  return { calibration: noDataset(validation.info), validation, notes: [], judged: () => identities(source) };
}

/** One set for all: a seeded choice is calibration, another one training where that is asked for, the rest validation, and the notes say so. */
export function splitSet(source: Source, config: SourceConfig, shares: Shares, options: SplitOptions): Sets {
  const total = least(source.length, config.samples);
  const numberOf = (share: number): number => Math.max(1, share < 1 ? Math.floor(total * share) : share);
  const count = numberOf(shares.calibration ?? Math.min(512, Math.floor(total / 5)));
  const trained = shares.training === undefined ? 0 : numberOf(shares.training);
  const judged = total - count - trained;
  const also = trained > 0 ? `, ${trained} for training` : '';
  if (judged <= 0) {
    const message = `${total} sample${total === 1 ? '' : 's'} cannot be split into ${count} for calibration${also} and some for validation`;
    throw dataError(message, source.source, 'Give more samples, or calibration and validation sets of their own.');
  }
  const notes = [
    `one set was given: ${count} of its ${total} samples, chosen by seed ${options.seed}, are for calibration${also}, the other ${judged} for validation`,
  ];
  const limits = [least(count, options.calibrationSamples), least(judged, options.validationSamples)] as const;
  if (source.access === 'stream') {
    const places = shuffled(total, options.seed);
    const chosen = (from: number, to: number): ((index: number) => boolean) => {
      const set = new Set(places.subarray(from, to));
      return (index) => set.has(index);
    };
    const forTraining = chosen(count, count + trained);
    return {
      calibration: streamDataset(source, chosen(0, count), limits[0], options),
      validation: streamDataset(source, chosen(count + trained, total), limits[1], options),
      ...(trained > 0 ? { training: streamTraining(source, forTraining, trained, shuffles(config), options) } : {}),
      notes,
      judged: () => new Set(),
    };
  }
  // Without shuffling the first `total` samples are the set; the choice among them is always a seeded one.
  const set = taken(source, config, options.seed).subarray(0, total);
  const choice = shuffles(config) ? inOrder(total) : shuffled(total, options.seed);
  const part = (from: number, length: number): Uint32Array => {
    const places = choice.subarray(from, from + length).slice();
    return (shuffles(config) ? places : places.sort()).map((place) => set[place]!);
  };
  const training = { source, indexes: part(count, trained), shuffles: shuffles(config) };
  return {
    calibration: datasetOf(source, part(0, limits[0]), options),
    validation: datasetOf(source, part(count + trained, limits[1]), options),
    ...(trained > 0 ? { training: indexedTraining([training], options) } : {}),
    notes,
    judged: () => new Set(Array.from(part(count + trained, judged), (index) => source.identity(index))),
  };
}

/** Sources that stand together for one set, and what the config says of each. */
type Given = readonly (readonly [Source, SourceConfig])[];

/** Calibration samples that are taken of the training set, at most. */
const calibrated = 512;

/**
 * The samples of a training set: all but those that the model is judged on, and of each source no more than asked for. Those of a module cannot
 * be told from others.
 */
function trained(given: Given, judged: ReadonlySet<string>, options: SplitOptions): { parts: Part[]; notes: string[] } {
  let removed = 0;
  const parts = given.map(([source, config]): Part => {
    if (source.access === 'stream') throw dataError('a module gives its samples one after the other, which cannot stand beside other sources', source.source, 'Give it as the only source of `training`.'); // prettier-ignore
    const all = taken(source, config, options.seed + 1);
    const own = judged.size === 0 ? all : all.filter((index) => !judged.has(source.identity(index)));
    removed += all.length - own.length;
    return { source, indexes: own.subarray(0, least(own.length, config.samples)), shuffles: shuffles(config) };
  });
  if (parts.every(({ indexes }) => indexes.length === 0))
    throw dataError('training and validation are the same samples', parts[0]!.source.source, 'Give the set once, as `data` with `split: { training: 0.8 }`.'); // prettier-ignore
  const notes = removed > 0 ? [`${removed} samples stand in validation too: they were taken out of training`] : [];
  return { parts, notes };
}

/** Sets with a training set of its own beside them. */
export function withTraining(sets: Sets, given: Given, options: SplitOptions): Sets {
  const [[source, config]] = given as readonly [readonly [Source, SourceConfig]];
  if (source.access === 'stream' && given.length === 1) {
    const count = least(source.length, config.samples);
    const training = streamTraining(source, () => true, count, shuffles(config), options);
    const note = `the samples of ${source.source} cannot be told from others: whether none of them is one of validation is for it to see to`;
    return { ...sets, training, notes: [...sets.notes, note] };
  }
  const { parts, notes } = trained(given, sets.judged(), options);
  return { ...sets, training: indexedTraining(parts, options), notes: [...sets.notes, ...notes] };
}

/** Sets with a choice of the training samples for calibration, none of which the model is judged on. */
export function calibratedOnTraining(sets: Sets, given: Given, options: SplitOptions): Sets {
  const limit = least(calibrated, options.calibrationSamples);
  const [[source, config]] = given as readonly [readonly [Source, SourceConfig]];
  if (source.access === 'stream' && given.length === 1) {
    const count = least(source.length, config.samples, limit);
    const notes = [...sets.notes, `no calibration set is given: it is the first ${count} samples of training`];
    return { ...sets, calibration: streamDataset(source, () => true, count, options), notes };
  }
  const { parts } = trained(given, sets.judged(), options);
  const all = chosenOf(parts);
  const order = parts.length === 1 ? all.order : mix(all.order, uniform(options.seed + 1));
  const calibration = datasetOf(all.source, order.slice(0, limit), options);
  const note = `no calibration set is given: it is ${calibration.info.samples} samples of training, chosen by seed ${options.seed}`;
  return { ...sets, calibration, notes: [...sets.notes, note] };
}

/** Two sets of their own. Samples that stand in both are taken out of calibration, and the notes say so. */
export function twoSets(
  calibration: readonly [Source, SourceConfig],
  validation: readonly [Source, SourceConfig],
  options: SplitOptions,
): Sets {
  const judged = wholeSet(...validation, options);
  const [source, config] = calibration;
  const limit = least(source.length, config.samples, options.calibrationSamples);
  if (source.access === 'stream') return { ...judged, calibration: streamDataset(source, () => true, limit, options) };
  const all = taken(source, config, options.seed + 1);
  const used = judged.judged();
  const own = used.size === 0 ? all : all.filter((index) => !used.has(source.identity(index)));
  if (own.length === 0)
    throw dataError('calibration and validation are the same samples', source.source, 'Give the set once, as `data`: it is then split.'); // prettier-ignore
  const removed = all.length - own.length;
  const notes = removed > 0 ? [`${removed} samples stand in both sets: they were taken out of calibration`] : [];
  return { ...judged, calibration: datasetOf(source, own.subarray(0, limit), options), notes };
}

function identities(source: Source): Set<string> {
  if (source.access === 'stream') return new Set();
  return new Set(Array.from({ length: source.length }, (_, index) => source.identity(index)));
}
