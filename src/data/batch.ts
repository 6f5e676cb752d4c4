import { dtypes, type TypedArray } from '../graph/dtype.ts';
import { QtoolError } from '../util/error.ts';
import type { Batch, Dataset, Feeds, Sample, Tensor } from './types.ts';

export interface BatchOptions {
  readonly batchSize: number;
  /** The batch size that the model insists on: the last batch is filled up by repeating its last sample. */
  readonly fixedBatch?: number | undefined;
  /** At most so many samples. */
  readonly limit?: number | undefined;
  /**
   * Write each batch over the last but one, for who is done with a batch when asking for the next but one. V8 lets tens of megabytes
   * of dead arrays pile up otherwise.
   */
  readonly reuse?: boolean;
}

/**
 * Joins samples along axis 0, in order. A batch ends early where the next sample has other shapes (images of mixed sizes,
 * sequences of mixed lengths) or another value for an input without axes. A sample that is itself a batch (axis 0 is not 1, as
 * ONNX test data may be) goes alone, and so does a step of a sequence.
 */
export async function* batches(
  dataset: Dataset,
  { batchSize, fixedBatch, limit, reuse = false }: BatchOptions,
): AsyncGenerator<Batch> {
  const size = fixedBatch ?? batchSize;
  const places: readonly Places[] = reuse ? [new Map(), new Map()] : [];
  let made = 0;
  const open = (first: Sample, rows: number): OpenBatch =>
    openBatch(first, rows, places[made++ % 2] ?? new Map<string, TypedArray>());
  let held: OpenBatch | undefined;
  for await (const sample of dataset.samples(limit, reuse)) {
    const whole = isWhole(sample) || sample.step !== undefined;
    if (held && (whole || signature(sample) !== held.signature)) {
      yield held.finish(fixedBatch);
      held = undefined;
    }
    if (whole) {
      yield { ...open(sample, 1).finish(undefined), ...(sample.step ? { step: sample.step } : {}) };
      continue;
    }
    if (held) held.add(sample);
    else held = open(sample, size);
    if (held.count() === size) {
      yield held.finish(fixedBatch);
      held = undefined;
    }
  }
  if (held) yield held.finish(fixedBatch);
}

/** Arrays that an earlier batch was in, by input. */
type Places = Map<string, TypedArray>;

/** A batch that samples are copied into as they come: their tensors may be written over afterwards. */
interface OpenBatch {
  readonly signature: string;
  count(): number;
  add(sample: Sample): void;
  /** The batch of the samples so far; of a fixed size it is filled up. */
  finish(fixedBatch: number | undefined): Batch;
}

function openBatch(first: Sample, rows: number, places: Places): OpenBatch {
  const samples: Pick<Sample, 'id' | 'target'>[] = [];
  const columns = Object.entries(first.feeds).map(([name, tensor]) => ({ name, ...openColumn(name, tensor, rows, places) })); // prettier-ignore
  const add = ({ id, feeds, target }: Sample): void => {
    for (const { name, put } of columns) put(feeds[name]!, samples.length);
    samples.push(target === undefined ? { id } : { id, target });
  };
  add(first);
  return {
    signature: signature(first),
    count: () => samples.length,
    add,
    finish(fixedBatch) {
      const count = samples.length;
      const size = Math.max(count, fixedBatch ?? 0);
      const feeds = Object.fromEntries(columns.map(({ name, tensor }) => [name, tensor(count, size)]));
      const [ids, targets] = [samples.map(({ id }) => id), samples.map(({ target }) => target)];
      return { ids, feeds: feeds satisfies Feeds, targets, count, size };
    },
  };
}

interface Column {
  readonly put: (tensor: Tensor, row: number) => void;
  /** The first `count` rows, the last one repeated up to `size`. */
  readonly tensor: (count: number, size: number) => Tensor;
}

/** One input of a batch. An input without axes is the same for all samples. */
function openColumn(name: string, { type, dims, data: given }: Tensor, rows: number, places: Places): Column {
  if (dims.length === 0) {
    const own: Tensor = { type, dims, data: given.slice() };
    return { put: () => undefined, tensor: () => own };
  }
  const joined = (size: number): readonly number[] => [size * dims[0]!, ...dims.slice(1)];
  const make = dtypes[type].array as (new (length: number) => Float32Array) | undefined;
  if (make === undefined || Array.isArray(given)) {
    const parts: (readonly string[])[] = [];
    return {
      put: (tensor, row) => void (parts[row] = tensor.data as readonly string[]),
      tensor: (count, size) => {
        const all = Array.from({ length: size }, (_, row) => parts[Math.min(row, count - 1)]!);
        return { type, dims: joined(size), data: all.flat() };
      },
    };
  }
  const { length } = given;
  const known = places.get(name);
  const fits = known instanceof make && known.length === rows * length;
  // A batch may end long before it is full.
  let data = fits ? known : new make(0);
  const reserve = (wanted: number): void => {
    if (wanted * length <= data.length) return;
    const larger = new make(Math.min(rows, Math.max(8, 2 * wanted)) * length);
    larger.set(data);
    data = larger;
    places.set(name, data);
  };
  return {
    put: (tensor, row) => {
      reserve(row + 1);
      data.set(tensor.data as Float32Array, row * length);
    },
    tensor: (count, size) => {
      reserve(size);
      for (let row = count; row < size; row++) data.copyWithin(row * length, (count - 1) * length, count * length);
      return { type, dims: joined(size), data: data.subarray(0, size * length) };
    },
  };
}

const isWhole = (sample: Sample): boolean =>
  Object.values(sample.feeds).some(({ dims }) => dims.length > 0 && dims[0] !== 1);

function signature({ feeds }: Sample): string {
  let text = '';
  for (const name of Object.keys(feeds)) {
    const { type, dims, data } = feeds[name]!;
    text += `${name}:${type}:${dims.join()}${dims.length === 0 ? `=${String(data[0])}` : ''};`;
  }
  return text;
}

/** @throws QtoolError('data') where there is none. */
export async function firstBatch(all: AsyncIterable<Batch>): Promise<Batch> {
  for await (const batch of all) return batch;
  throw new QtoolError('data', 'the dataset is empty', { hint: 'check its path and limits' });
}
