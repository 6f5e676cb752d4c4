import type { Batch } from '../data/types.ts';

/** Bytes of samples that are kept. */
const limit = 128 * 2 ** 20;

/** Batches that are made once, where they are not too large: a diagnosis goes over the same few samples many times, and decoding images takes longer than running a small model. */
export function remembered(batches: () => AsyncIterable<Batch>): () => AsyncIterable<Batch> {
  let known: readonly Batch[] | undefined;
  return async function* () {
    if (known) return yield* known;
    const seen: Batch[] = [];
    let bytes = 0;
    for await (const batch of batches()) {
      for (const { data } of Object.values(batch.feeds)) bytes += ArrayBuffer.isView(data) ? data.byteLength : limit;
      if (bytes <= limit) seen.push(batch);
      yield batch;
    }
    if (bytes <= limit) known = seen;
  };
}
