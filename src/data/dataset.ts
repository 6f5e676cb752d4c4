import { fingerprintOf } from './fingerprint.ts';
import { checkSample } from './check.ts';
import { halfFed } from './half_feeds.ts';
import type { ImageChange } from './image_change.ts';
import type { ModelInput } from '../graph/query.ts';
import type { IndexedSource, StreamSource } from './source.ts';
import type { Dataset, DatasetInfo, Sample } from './types.ts';

/** What the model takes: every sample is checked against it. */
export interface Wanted {
  readonly inputs: readonly ModelInput[];
  /** Number of classes it tells apart, where known. */
  readonly classes?: number | undefined;
}

/** How many samples are read at once: enough to keep a decoder's threads busy, few enough not to matter in memory. */
const ahead = 8;

function info({ kind, source, labelled, notes }: IndexedSource | StreamSource, samples: number): DatasetInfo {
  return { kind, source, samples, labelled, notes };
}

/**
 * The samples of a source in a given order; several are read at once, and they come out in that order. `change`: what chance makes of the
 * images of each.
 */
export function indexedDataset(
  source: IndexedSource,
  order: Uint32Array,
  { inputs, classes }: Wanted,
  change?: (index: number) => ImageChange,
): Dataset {
  return {
    info: info(source, order.length),
    fingerprint: (limit = Infinity) => fingerprintOf(source, order.subarray(0, limit)),
    async *samples(limit = Infinity, reuse = false) {
      const end = Math.min(order.length, limit);
      const reader = await source.open();
      const waiting: (Sample | Promise<Sample>)[] = [];
      try {
        for (let next = 0, given = 0; given < end; given++) {
          while (next < end && waiting.length < ahead) {
            // The one given last is still in use.
            const over = reuse ? next % (ahead + 1) : undefined;
            const index = order[next++]!;
            const sample = reader.read(index, over, change?.(index));
            // A failure is thrown when its turn comes, not before.
            if (sample instanceof Promise) sample.catch(() => undefined);
            waiting.push(sample);
          }
          const first = waiting.shift()!;
          const sample = halfFed(first instanceof Promise ? await first : first, inputs);
          checkSample(sample, inputs, classes);
          yield sample;
        }
      } finally {
        await Promise.allSettled(waiting.filter((sample) => sample instanceof Promise));
        await reader.close();
      }
    },
  };
}

/** The samples of a stream that `takes` their indexes, at most `samples` of them. */
export function streamDataset(
  source: StreamSource,
  takes: (index: number) => boolean,
  samples: number,
  { inputs, classes }: Wanted,
): Dataset {
  return {
    info: info(source, samples),
    async *samples(limit = Infinity) {
      const end = Math.min(samples, limit);
      let index = 0;
      let given = 0;
      if (end === 0) return;
      for await (const read of source.stream()) {
        if (!takes(index++)) continue;
        const sample = halfFed(read, inputs);
        checkSample(sample, inputs, classes);
        yield sample;
        if (++given === end) return;
      }
    },
  };
}

/** A dataset of no samples: what was not asked for. */
export function noDataset({ kind, source, labelled }: DatasetInfo): Dataset {
  return { info: { kind, source, labelled, samples: 0, notes: [] }, async *samples() {} };
}
