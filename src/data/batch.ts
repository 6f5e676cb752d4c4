import { dtypes, type TypedArray } from '../graph/dtype.ts';
import type { Batch, Dataset, Feeds, Sample, Tensor } from './types.ts';

export interface BatchOptions {
  readonly batchSize: number;
  /** The batch size that the model insists on: the last batch is filled up by repeating its last sample. */
  readonly fixedBatch?: number | undefined;
  /** At most so many samples. */
  readonly limit?: number | undefined;
}

/**
 * Joins samples along axis 0, in order. A batch ends early where the next sample has other shapes (images of mixed sizes,
 * sequences of mixed lengths) or another value for an input without axes. A sample that is itself a batch (axis 0 is not 1, as
 * ONNX test data may be) goes alone.
 */
export async function* batches(
  dataset: Dataset,
  { batchSize, fixedBatch, limit }: BatchOptions,
): AsyncGenerator<Batch> {
  const size = fixedBatch ?? batchSize;
  let held: Sample[] = [];
  let shape: string | undefined;
  for await (const sample of dataset.samples(limit)) {
    if (isWhole(sample)) {
      if (held.length > 0) yield join(held, fixedBatch);
      held = [];
      yield join([sample], undefined);
      continue;
    }
    const own = signature(sample);
    if (held.length > 0 && own !== shape) {
      yield join(held, fixedBatch);
      held = [];
    }
    shape = own;
    held.push(sample);
    if (held.length === size) {
      yield join(held, fixedBatch);
      held = [];
    }
  }
  if (held.length > 0) yield join(held, fixedBatch);
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

function join(samples: readonly Sample[], fixedBatch: number | undefined): Batch {
  const count = samples.length;
  const size = Math.max(count, fixedBatch ?? 0);
  const feeds: Record<string, Tensor> = {};
  for (const name of Object.keys(samples[0]!.feeds)) feeds[name] = joinTensors(samples.map(({ feeds: own }) => own[name]!), size); // prettier-ignore
  return {
    ids: samples.map(({ id }) => id),
    feeds: feeds satisfies Feeds,
    targets: samples.map(({ target }) => target),
    count,
    size,
  };
}

function joinTensors(tensors: readonly Tensor[], size: number): Tensor {
  const first = tensors[0]!;
  if (first.dims.length === 0 || size === 1) return first;
  const { type, dims } = first;
  const joined = [size * dims[0]!, ...dims.slice(1)];
  const last = tensors.at(-1)!;
  const make = dtypes[type].array;
  if (make === undefined || Array.isArray(first.data)) {
    const all = Array.from({ length: size }, (_, i) => (tensors[i] ?? last).data as readonly string[]);
    return { type, dims: joined, data: all.flat() };
  }
  const length = first.data.length;
  const data = new make(length * size);
  for (let i = 0; i < size; i++)
    (data as Float32Array).set((tensors[i] ?? last).data as TypedArray as Float32Array, i * length);
  return { type, dims: joined, data };
}
