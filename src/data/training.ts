import type { ModelInput } from '../graph/query.ts';
import { uniform, seedOf } from '../util/uniform.ts';
import { changedRow } from './arrays.ts';
import { beta, chanceFor, erased, imageChange, type Augment } from './augment.ts';
import { checkSample } from './check.ts';
import { indexedDataset, streamDataset, type Wanted } from './dataset.ts';
import { dataError } from './errors.ts';
import type { ImageChange } from './image_change.ts';
import { dealt, epochOrder, mix } from './order.ts';
import { fingerprintOf } from './fingerprint.ts';
import { isMadeElsewhere, type IndexedSource, type StreamSource } from './source.ts';
import { imageAxes } from './transforms.ts';
import type { Dataset, Sample, Tensor, TrainingSet } from './types.ts';

/** Samples of one source that are trained on. */
export interface Part {
  readonly source: IndexedSource;
  readonly indexes: Uint32Array;
  /** Whether they come in another order each epoch. */
  readonly shuffles: boolean;
}

/** A sample and its number, which its chances are drawn by whatever the order is. */
type Numbered = readonly [sample: Sample, index: number];
type Read = (limit: number, reuse: boolean, change: Changes | undefined) => AsyncIterable<Numbered>;
type Changes = (index: number) => ImageChange;

/** The sources of parts as one, the first index of each in it, and the indexes of all parts. */
export function chosenOf(parts: readonly Part[]): {
  readonly source: IndexedSource;
  readonly firsts: readonly number[];
  readonly order: Uint32Array;
} {
  const sources = parts.map(({ source }) => source);
  const firsts = firstsOf(sources);
  const order = Uint32Array.from(parts.flatMap(({ indexes }, i) => Array.from(indexes, (index) => index + firsts[i]!)));
  return { source: joined(sources), firsts, order };
}

/** The training set that is made of parts of sources. */
export function indexedTraining(parts: readonly Part[], wanted: Wanted): TrainingSet {
  const { source, firsts, order: all } = chosenOf(parts);
  const samples = all.length;
  const made = trainingSet(source, samples, wanted, (seed) => {
    const orders = parts.map(({ source: { blocks }, indexes, shuffles }, i) => {
      const order = shuffles ? epochOrder(indexes, blocks, seedOf(seed, i)) : indexes;
      return order.map((index) => index + firsts[i]!);
    });
    const order = orders.length === 1 ? orders[0]! : dealt(orders, seed);
    return async function* (limit, reuse, change) {
      let at = 0;
      for await (const sample of indexedDataset(source, order, wanted, change).samples(limit, reuse))
        yield [sample, order[at++]!];
    };
  });
  const prints = (): (string | undefined)[] => parts.map(({ source: own, indexes }) => fingerprintOf(own, indexes));
  return { ...made, fingerprint: () => (prints().includes(undefined) ? undefined : prints().join(' ')) };
}

/** The training set of the samples of a stream that `takes` their indexes, `samples` of them. */
export function streamTraining(
  source: StreamSource,
  takes: (index: number) => boolean,
  samples: number,
  shuffles: boolean,
  wanted: Wanted,
): TrainingSet {
  return trainingSet(source, samples, wanted, (seed) => async function* (limit) {
    if (!shuffles) yield* numbered(streamDataset(source, takes, samples, wanted).samples(limit));
    else yield* first(mixedStream(numbered(streamDataset(source, takes, samples, wanted).samples()), uniform(seed)), limit); // prettier-ignore
  }); // prettier-ignore
}

async function* numbered(samples: AsyncIterable<Sample>): AsyncGenerator<Numbered> {
  let index = 0;
  for await (const sample of samples) yield [sample, index++];
}

async function* first<T>(list: AsyncIterable<T>, limit: number): AsyncGenerator<T> {
  let given = 0;
  if (limit > 0)
    for await (const one of list) {
      yield one;
      if (++given >= limit) return;
    }
}

/** Samples that are held to be mixed, at most, and their bytes, about. */
const heldSamples = 1024;
const heldBytes = 64 * 2 ** 20;

/**
 * A stream in another order: of the samples held one goes out by chance, and the next one that comes takes its place. How many are held
 * is what the first sample says, the same for every epoch.
 */
async function* mixedStream(stream: AsyncIterable<Numbered>, next: () => number): AsyncGenerator<Numbered> {
  const held: Numbered[] = [];
  let room: number | undefined;
  for await (const one of stream) {
    room ??= Math.max(2, Math.min(heldSamples, Math.floor(heldBytes / bytesOf(one[0]))));
    if (held.length < room) {
      held.push(one);
      continue;
    }
    const place = Math.floor(next() * room);
    yield held[place]!;
    held[place] = one;
  }
  yield* mix(held, next);
}

const bytesOf = ({ feeds }: Sample): number =>
  Object.values(feeds).reduce((sum, { data }) => sum + ('byteLength' in data ? data.byteLength : 16 * data.length), 1);

type Facts = Pick<IndexedSource, 'kind' | 'source' | 'labelled' | 'notes'>;

function trainingSet(
  { kind, source, labelled, notes }: Facts,
  samples: number,
  { inputs, classes }: Wanted,
  order: (seed: number) => Read,
): TrainingSet {
  const info = { kind, source, samples, labelled, notes };
  return {
    info,
    epoch(epoch, { seed, augment = {} }): Dataset {
      const read = order(seedOf(seed, epoch));
      const change = imageChange(augment);
      const of = change && ((index: number) => change(chanceFor('image', seed, epoch, index)));
      // Finished tensors are changed here, images where they are decoded.
      const finished = isMadeElsewhere(kind);
      const { random_erasing: erasing, mixup } = augment;
      const one = async function* (limit: number, reuse: boolean): AsyncGenerator<Numbered> {
        for await (const [sample, index] of read(limit, reuse, finished ? undefined : of)) {
          let made = sample;
          if (of && finished) made = changed(made, inputs, of(index));
          if (erasing) made = erase(made, inputs, erasing, () => chanceFor('erase', seed, epoch, index));
          if (made !== sample) checkSample(made, inputs, classes);
          yield [made, index];
        }
      };
      return {
        info,
        async *samples(limit = Infinity, reuse = false) {
          if (mixup)
            yield* first(pairs(one(limit + (limit % 2 || 0), false), mixup.alpha ?? 0.2, [seed, epoch]), limit);
          else for await (const [sample] of one(limit, reuse)) yield sample;
        },
      };
    },
  };
}

/** The inputs of a sample that are images, [1, channels, height, width] or the other way round. @throws QtoolError where there are none. */
function images(sample: Sample, inputs: readonly ModelInput[], what: string): (readonly [string, Tensor])[] {
  const found = inputs.map(({ name }) => [name, sample.feeds[name]!] as const).filter(([, { dims }]) => dims.length === 4); // prettier-ignore
  if (found.length > 0) return found;
  const shapes = inputs.map(({ name }) => `${name} [${sample.feeds[name]!.dims.join(', ')}]`);
  throw dataError(`${what} changes images, and no input has the four axes of one: ${shapes.join(', ')}`, sample.id, 'Leave it out of `augment`.'); // prettier-ignore
}

/** A sample of finished tensors with its images changed. */
function changed(sample: Sample, inputs: readonly ModelInput[], change: ImageChange): Sample {
  const feeds = { ...sample.feeds };
  for (const [name, tensor] of images(sample, inputs, 'augment')) {
    const stored = imageAxes(tensor.dims)[0] === 1 ? 'CHW' : 'HWC';
    const data = changedRow(tensor.data as Float32Array, tensor.dims.slice(1), stored, change, sample.id);
    feeds[name] = { ...tensor, data };
  }
  return { ...sample, feeds };
}

/** A sample with a rectangle of its images set to 0. */
function erase(
  sample: Sample,
  inputs: readonly ModelInput[],
  options: NonNullable<Augment['random_erasing']>,
  chance: () => () => number,
): Sample {
  const feeds = { ...sample.feeds };
  for (const [name, tensor] of images(sample, inputs, 'random_erasing')) {
    const [c, h, w] = imageAxes(tensor.dims);
    const [channels, height, width] = [tensor.dims[c]!, tensor.dims[h]!, tensor.dims[w]!];
    const box = erased(options, width, height, chance());
    if (box === undefined) continue;
    const data = tensor.data.slice() as Float32Array;
    const [x, y, wide, high] = box;
    const [planes, run] = c === 1 ? [channels, 1] : [1, channels];
    for (let plane = 0; plane < planes; plane++)
      for (let row = y; row < y + high; row++) {
        const from = ((plane * height + row) * width + x) * run;
        data.fill(0, from, from + wide * run);
      }
    feeds[name] = { ...tensor, data };
  }
  return { ...sample, feeds };
}

/** Samples mixed two by two, each with the other: of both together nothing is lost. The last of an odd number stays as it is. */
async function* pairs(samples: AsyncIterable<Numbered>, alpha: number, of: readonly number[]): AsyncGenerator<Sample> {
  let held: Numbered | undefined;
  for await (const one of samples) {
    if (held === undefined) {
      held = one;
      continue;
    }
    const share = beta(alpha, chanceFor('mix', ...of, held[1]));
    const [a, b] = [held[0], one[0]];
    held = undefined;
    yield mixed(a, b, share);
    yield mixed(b, a, share);
  }
  if (held) yield held[0];
}

/** (1 − share) a + share b. */
function mixed(a: Sample, b: Sample, share: number): Sample {
  const feeds: Record<string, Tensor> = {};
  for (const [name, { type, dims, data }] of Object.entries(a.feeds)) {
    const other = b.feeds[name]!;
    if (type !== 'float32' && type !== 'float64') throw dataError(`mixup mixes floats, and the input "${name}" is ${type}`, a.id, 'Leave mixup out of `augment`.'); // prettier-ignore
    if (dims.join() !== other.dims.join()) throw dataError(`mixup mixes samples of one shape: [${dims.join(', ')}] here, [${other.dims.join(', ')}] in ${b.id}`, a.id, 'Bring them to one size by `transforms`.'); // prettier-ignore
    const [x, y] = [data as Float32Array, other.data as Float32Array];
    feeds[name] = { type, dims, data: x.map((value, i) => value + share * (y[i]! - value)) };
  }
  if (a.target?.expected) throw dataError('mixup mixes labels, not the outputs that are expected here', a.id, 'Leave mixup out of `augment`.'); // prettier-ignore
  const label = b.target?.label;
  return { id: a.id, feeds, ...(a.target ? { target: label ? { ...a.target, mixed: { label, share } } : a.target } : {}) }; // prettier-ignore
}

const firstsOf = (sources: readonly IndexedSource[]): number[] => {
  let next = 0;
  return sources.map(({ length }) => (next += length) - length);
};

/** Sources one after the other as one. */
function joined(sources: readonly IndexedSource[]): IndexedSource {
  const [one, ...others] = sources;
  if (others.length === 0) return one!;
  const firsts = firstsOf(sources);
  const of = (index: number): readonly [IndexedSource, number, number] => {
    const part = firsts.findLastIndex((from) => from <= index);
    return [sources[part]!, index - firsts[part]!, part];
  };
  const inBlocks = sources.some(({ blocks }) => blocks !== undefined);
  return {
    access: 'index',
    kind: one!.kind,
    source: sources.map(({ source }) => source).join(' and '),
    length: sources.reduce((sum, { length }) => sum + length, 0),
    labelled: sources.every(({ labelled }) => labelled),
    notes: sources.flatMap(({ notes }) => notes),
    pixels: sources.some(({ pixels }) => pixels),
    ...(inBlocks ? { blocks: sources.flatMap(({ blocks = [0] }, i) => blocks.map((at) => at + firsts[i]!)) } : {}),
    identity(index) {
      const [source, at] = of(index);
      return source.identity(at);
    },
    files(index) {
      const [source, at] = of(index);
      return source.files?.(at) ?? [];
    },
    async open() {
      const readers = await Promise.all(sources.map((source) => source.open()));
      return {
        read(index, over, change) {
          const [, at, part] = of(index);
          return readers[part]!.read(at, over, change);
        },
        async close() {
          for (const reader of readers) await reader.close();
        },
      };
    },
  };
}
