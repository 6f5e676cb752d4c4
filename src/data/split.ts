import type { SourceConfig } from './config.ts';
import { indexedDataset, noDataset, streamDataset, type Wanted } from './dataset.ts';
import { dataError } from './errors.ts';
import { inOrder, shuffled } from './order.ts';
import type { IndexedSource, Source, StreamSource } from './source.ts';
import type { Dataset, RunData } from './types.ts';

export type Sets = Pick<RunData, 'calibration' | 'validation' | 'notes'>;

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
  return indexedDataset(source, source.sequential === true ? order.slice().sort() : order, options);
}

/** A set by itself, for validation; without a calibration set. */
export function wholeSet(source: Source, config: SourceConfig, options: SplitOptions): Sets {
  const count = least(source.length, config.samples, options.validationSamples);
  const validation =
    source.access === 'stream'
      ? streamDataset(source, () => true, count, options)
      : datasetOf(source, taken(source, config, options.seed).subarray(0, count), options);
  return { calibration: noDataset(validation.info), validation, notes: [] };
}

/**
 * One set for both: a seeded choice is calibration, the rest validation, and the notes say so. `share`: below 1 of the samples,
 * else their number; by default a fifth, at most 512.
 */
export function splitSet(source: Source, config: SourceConfig, share: number | undefined, options: SplitOptions): Sets {
  const total = least(source.length, config.samples);
  const asked =
    share === undefined ? Math.min(512, Math.floor(total / 5)) : share < 1 ? Math.floor(total * share) : share;
  const count = Math.max(1, asked);
  if (count >= total) {
    const message = `${total} sample${total === 1 ? '' : 's'} cannot be split into ${count} for calibration and some for validation`;
    throw dataError(message, source.source, 'Give more samples, or calibration and validation sets of their own.');
  }
  const notes = [
    `one set was given: ${count} of its ${total} samples, chosen by seed ${options.seed}, are for calibration, the other ${total - count} for validation`,
  ];
  const limits = [least(count, options.calibrationSamples), least(total - count, options.validationSamples)] as const;
  if (source.access === 'stream') return { ...splitStream(source, total, count, limits, options), notes };
  // Without shuffling the first `total` samples are the set; the choice among them is always a seeded one.
  const set = taken(source, config, options.seed).subarray(0, total);
  const choice = shuffles(config) ? inOrder(total) : shuffled(total, options.seed);
  const part = (from: number, length: number): Uint32Array => {
    const places = choice.subarray(from, from + length).slice();
    return (shuffles(config) ? places : places.sort()).map((place) => set[place]!);
  };
  return {
    calibration: datasetOf(source, part(0, limits[0]), options),
    validation: datasetOf(source, part(count, limits[1]), options),
    notes,
  };
}

function splitStream(
  source: StreamSource,
  total: number,
  count: number,
  [first, second]: readonly [number, number],
  options: SplitOptions,
): Omit<Sets, 'notes'> {
  const chosen = new Set(shuffled(total, options.seed).subarray(0, count));
  return {
    calibration: streamDataset(source, (i) => chosen.has(i), first, options),
    validation: streamDataset(source, (i) => i < total && !chosen.has(i), second, options),
  };
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
  const used = validation[0].access === 'index' ? identities(validation[0]) : new Set<string>();
  const own = used.size === 0 ? all : all.filter((index) => !used.has(source.identity(index)));
  if (own.length === 0)
    throw dataError('calibration and validation are the same samples', source.source, 'Give the set once, as `data`: it is then split.'); // prettier-ignore
  const removed = all.length - own.length;
  const notes = removed > 0 ? [`${removed} samples stand in both sets: they were taken out of calibration`] : [];
  return { ...judged, calibration: datasetOf(source, own.subarray(0, limit), options), notes };
}

function identities(source: IndexedSource): Set<string> {
  return new Set(Array.from({ length: source.length }, (_, index) => source.identity(index)));
}
