import type { Feeds, Tensor } from '../../../data/types.ts';
import { elementCount } from '../../../graph/tensor.ts';
import { QtoolError } from '../../../util/error.ts';

/** A value on the samples that are kept, one after the other. */
export interface Kept {
  /** Of one sample. */
  readonly dims: readonly number[];
  readonly samples: number;
  readonly data: Float32Array;
}

/**
 * Keeps the first `limit` samples of a stream; the rest goes by.
 * @param size of one sample, as far as known.
 * @throws QtoolError('data') where batches differ in more than their number of samples, or hold no float32.
 */
export async function keep(stream: AsyncIterable<Tensor>, value: string, limit: number): Promise<Kept> {
  let dims: readonly number[] | undefined;
  let data = new Float32Array();
  let samples = 0;
  for await (const tensor of stream) {
    const [rows = 0, ...rest] = tensor.dims;
    if (tensor.type !== 'float32') throw new QtoolError('data', `"${value}" is ${tensor.type}, not float32`);
    if (!dims) {
      dims = rest;
      data = new Float32Array(limit * elementCount(rest));
    }
    if (rest.join() !== dims.join()) throw new QtoolError('data', `"${value}" has another shape in every batch`);
    const take = Math.min(rows, limit - samples);
    const each = data.length / limit;
    data.set((tensor.data as Float32Array).subarray(0, take * each), samples * each);
    samples += take;
  }
  return { dims: dims ?? [], samples, data: data.subarray(0, (samples * data.length) / Math.max(1, limit)) };
}

/** Some samples as a batch. */
export function batchOf({ dims, data }: Kept, samples: readonly number[]): Tensor {
  const each = elementCount(dims);
  const out = new Float32Array(samples.length * each);
  samples.forEach((sample, i) => out.set(data.subarray(sample * each, (sample + 1) * each), i * each));
  return { type: 'float32', dims: [samples.length, ...dims], data: out };
}

/** Samples `from` to `to` as a batch, without a copy. */
export const stretchOf = ({ dims, data }: Kept, from: number, to: number): Tensor => {
  const each = elementCount(dims);
  return { type: 'float32', dims: [to - from, ...dims], data: data.subarray(from * each, to * each) };
};

/** Batches of `size` out of `count` samples, each sample once before one comes again; fewer samples than that are repeated. */
export function* draws(count: number, size: number, uniform: () => number): Generator<readonly number[], never> {
  let order: number[] = [];
  for (;;) {
    while (order.length < size) {
      const next = Array.from({ length: count }, (_, i) => i);
      for (let i = count - 1; i > 0; i--) {
        const j = Math.floor(uniform() * (i + 1));
        [next[i], next[j]] = [next[j]!, next[i]!];
      }
      order = [...order, ...next];
    }
    yield order.slice(0, size);
    order = order.slice(size);
  }
}

/** Which elements of each mask are taken: with this probability, each for itself. */
export function drawMasks(
  masks: readonly { readonly name: string; readonly dims: readonly number[] }[],
  probability: number,
  uniform: () => number,
): Feeds {
  // 16 bits an element are enough for a probability, and halve the draws.
  const below = Math.round(probability * 0x1_0000);
  return Object.fromEntries(
    masks.map(({ name, dims }) => {
      const data = new Uint8Array(elementCount(dims));
      for (let i = 0; i < data.length; i += 2) {
        const bits = uniform() * 0x1_0000_0000;
        data[i] = bits % 0x1_0000 < below ? 1 : 0;
        if (i + 1 < data.length) data[i + 1] = bits / 0x1_0000 < below ? 1 : 0;
      }
      return [name, { type: 'bool', dims, data }];
    }),
  );
}
