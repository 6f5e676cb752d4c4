import type { Batch, Feeds, Tensor } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import type { AnyFold } from '../numerics/fold.ts';
import { checkCancelled, realRows } from './capture.ts';
import { exposable, expose } from './expose.ts';
import { pieces, planFor, rowsFor, type CollectPlan } from './plan.ts';
import { withSession, type SessionOptions } from './session.ts';

export interface CollectOptions extends SessionOptions {
  /** Bytes that one run may return; default 256 MiB. */
  readonly memoryLimit?: number;
  readonly signal?: AbortSignal;
  /** Called once, before the first run: how many passes there will be. */
  planned?(plan: CollectPlan): void;
  /** Called after every run: samples done, counted over all passes, and in which pass. */
  progress?(samples: number, pass: number): void;
}

type Wanted<R> = ReadonlyMap<string, readonly AnyFold<Tensor, R>[]>;

/**
 * Runs batches through the model and folds every wanted value as they come: value name → folds; the result has the folds'
 * results in the same order. Values are seen whole and in the order of the data; nothing is kept but the folds' states.
 *
 * @param batches starts the data anew: it is called once a pass, and once more for a look at the first sample's shapes.
 * @throws QtoolError `graph` for a value that cannot be collected, `data` without any sample, `cancelled`.
 */
export async function collect<R>(
  model: Model,
  batches: () => AsyncIterable<Batch>,
  wanted: Wanted<R>,
  options: CollectOptions = {},
): Promise<Map<string, R[]>> {
  const values = [...wanted.keys()];
  const computed = exposable(model, values);
  const plan = await planFor(model, batches, computed, options.memoryLimit);
  options.planned?.(plan);

  const states = new Map(values.map((name) => [name, wanted.get(name)?.map((fold) => fold.start()) ?? []]));
  const feed = (results: Feeds, names: readonly string[], batch: Batch): void => {
    for (const name of names) {
      const tensor = realRows((results[name] ?? batch.feeds[name]) as Tensor, batch);
      const [list, folds] = [states.get(name) as unknown[], wanted.get(name) ?? []];
      folds.forEach((fold, i) => (list[i] = fold.add(list[i], tensor)));
    }
  };

  const inputs = values.filter((name) => !computed.includes(name));
  let samples = 0;
  for (const [pass, group] of plan.passes.entries()) {
    const names = pass === 0 ? [...inputs, ...group] : group;
    const run = async (results: (feeds: Feeds) => Promise<Feeds>): Promise<void> => {
      for await (const batch of batches())
        for (const piece of pieces(batch, rowsFor(batch, plan))) {
          checkCancelled(options.signal);
          feed(await results(piece.feeds), names, piece);
          samples += piece.count;
          options.progress?.(samples, pass);
        }
    };
    if (group.length === 0) await run(async () => ({}));
    else await withSession(expose(model, group), options, (session) => run((feeds) => session.run(feeds, group)));
  }
  return new Map(
    values.map((name) => [name, (wanted.get(name) ?? []).map((fold, i) => fold.finish(states.get(name)?.[i]))]),
  );
}
