import type { Batch, Feeds, Tensor } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import { QtoolError } from '../util/error.ts';
import { given } from '../util/must.ts';
import { constantsAmong, exposable, expose } from './expose.ts';
import { pieces, rowsFor, sliceRows, type CollectPlan } from './plan.ts';
import { openSession, type Session, type SessionOptions } from './session.ts';

export interface CaptureOptions extends SessionOptions {
  readonly signal?: AbortSignal;
}

/**
 * Streams the named values batch by batch, rows of padding cut off. Graph inputs may be among them, and constants, which come whole. One batch is held at a
 * time; the session is closed when the consumer stops.
 *
 * @throws QtoolError `graph` for a value that cannot be collected, `cancelled` when the signal fires.
 */
export async function* capture(
  model: Model,
  batches: AsyncIterable<Batch>,
  values: readonly string[],
  options: CaptureOptions = {},
): AsyncGenerator<Feeds> {
  const computed = exposable(model, values);
  const constants = constantsAmong(model, values);
  let session: Session | undefined;
  try {
    for await (const batch of ahead(batches)) {
      checkCancelled(options.signal);
      session ??= await openSession(computed.length > 0 ? expose(model, computed) : model, options);
      const results = computed.length > 0 ? await session.run(batch.feeds, computed) : {};
      const out: Record<string, Tensor> = {};
      for (const name of values)
        out[name] = constants.get(name) ?? realRows(given(results[name] ?? batch.feeds[name], name), batch);
      yield out;
    }
  } finally {
    await session?.close();
  }
}

/**
 * Cuts the rows that stand for padding samples off a tensor of a padded batch. A tensor whose first axis is not the batch (or
 * a multiple of it, as after merging batch and time) is left whole: it then sees the last sample more than once.
 */
export function realRows(tensor: Tensor, batch: Batch): Tensor {
  const rows = tensor.dims[0];
  if (batch.count === batch.size || rows === undefined || rows % batch.size !== 0) return tensor;
  return sliceRows(tensor, batch.size, 0, batch.count);
}

/** The same items, the next one asked for before the last is used: images are decoded by other threads while a model runs. */
export async function* ahead<T>(source: AsyncIterable<T>): AsyncGenerator<T> {
  const items = source[Symbol.asyncIterator]();
  let next = items.next();
  try {
    for (let item = await next; item.done !== true; item = await next) {
      next = items.next();
      // Whoever stops before the next item never awaits it.
      next.catch(() => undefined);
      yield item.value;
    }
  } finally {
    await items.return?.();
  }
}

/** Batches in the pieces that a run may take of them by a plan, read ahead. @throws QtoolError `cancelled` once the signal has fired. */
export async function* piecesOf(
  batches: AsyncIterable<Batch>,
  plan: CollectPlan,
  signal: AbortSignal | undefined,
): AsyncGenerator<Batch> {
  for await (const batch of ahead(batches))
    for (const piece of pieces(batch, rowsFor(batch, plan))) {
      checkCancelled(signal);
      yield piece;
    }
}

/** @throws QtoolError `cancelled` once the signal has fired. */
export function checkCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new QtoolError('cancelled', 'cancelled');
}
