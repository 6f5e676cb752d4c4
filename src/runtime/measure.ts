import type { Batch, Feeds, Tensor } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import { comparable, type Comparable } from '../graph/selections.ts';
import type { Metric, MetricResult } from '../metrics/metric.ts';
import { QtoolError } from '../util/error.ts';
import { ahead, checkCancelled, realRows } from './capture.ts';
import { openSession, type Session, type SessionOptions } from './session.ts';
import { fedBack } from './steps.ts';

export interface MeasureOptions extends SessionOptions {
  readonly signal?: AbortSignal;
  /** Outputs of the float model from earlier calls; without it the float model runs again. */
  readonly references?: References;
  /** There is no float model, and the model stands in its place. */
  readonly alone?: boolean;
  /** Called after every batch with the samples done so far. */
  readonly progress?: (samples: number) => void;
}

/** The float model's outputs on the validation data, as far as they fit: it need not run again at every stage. */
export interface References {
  /** What was kept for this batch, the `index`-th of the data. */
  get(index: number, batch: Batch): Feeds | undefined;
  put(index: number, batch: Batch, outputs: Feeds): void;
}

/** Keeps outputs of one float model on one data set until `limit` bytes are full, then no more. */
export function keepReferences(limit = 64 * 2 ** 20): References {
  const kept = new Map<number, { readonly ids: string; readonly outputs: Feeds }>();
  let room = limit;
  const idsOf = (batch: Batch): string => batch.ids.join('\n');
  return {
    get(index, batch) {
      const entry = kept.get(index);
      // The same index in data cut otherwise is another batch.
      return entry !== undefined && entry.ids === idsOf(batch) ? entry.outputs : undefined;
    },
    put(index, batch, outputs) {
      const bytes = Object.values(outputs).reduce((sum, tensor) => sum + bytesOf(tensor), 0);
      if (kept.has(index) || bytes > room) return;
      room -= bytes;
      kept.set(index, { ids: idsOf(batch), outputs });
    },
  };
}

/**
 * Runs a model and the float model side by side over the data and folds every metric. Metrics see the real samples only: what
 * a batch was padded with is cut off the outputs. Memory does not grow with the samples, but for `references`.
 *
 * @throws QtoolError `runtime` where the model lacks an output of the float model, `data` without samples, `cancelled`.
 */
export async function measure(
  model: Model,
  reference: Model,
  batches: AsyncIterable<Batch>,
  metrics: readonly Metric[],
  options: MeasureOptions = {},
): Promise<MetricResult[]> {
  const states = metrics.map((metric) => metric.start());
  const pair = comparable(model, reference);
  const compared = pair.selected.size === 0 ? undefined : pair.compared;
  const open = new Map<Model, Session>();
  // Of each model the outputs of its last step: states are its own, never another's.
  const last = new Map<Model, Feeds>();
  const run = async (which: Model, batch: Batch): Promise<Feeds> => {
    const session = open.get(which) ?? (await openSession(which, options));
    open.set(which, session);
    const outputs = await session.run(fedBack(batch, last.get(which)));
    if (batch.step) last.set(which, outputs);
    return outputs;
  };
  let samples = 0;
  let index = 0;
  try {
    for await (const batch of ahead(batches)) {
      checkCancelled(options.signal);
      const known = options.references?.get(index, batch);
      const expected = known ?? realOutputs(await run(pair.float, batch), batch);
      if (known === undefined) options.references?.put(index, batch, expected);
      const own = async (): Promise<Feeds> => realOutputs(await run(pair.model, batch), batch, pair.named);
      const outputs = model === reference ? expected : await own();
      checkOutputs(outputs, expected, model, pair.selected);
      const input = {
        batch: { ...batch, size: batch.count },
        outputs,
        reference: expected,
        compared: compared ?? shared(outputs, expected),
        alone: options.alone,
      };
      metrics.forEach((metric, i) => (states[i] = metric.add(states[i], input)));
      samples += batch.count;
      index += 1;
      options.progress?.(samples);
    }
  } finally {
    for (const session of open.values()) await session.close();
  }
  if (samples === 0) throw new QtoolError('data', 'there is no sample to measure on', { hint: 'the dataset is empty' });
  return metrics.map((metric, i) => metric.finish(states[i]));
}

/** What both models give, where the changed one gives more: an early exit has nothing in the float model to be compared with. */
function shared(outputs: Feeds, expected: Feeds): readonly string[] | undefined {
  const more = Object.keys(outputs).some((name) => expected[name] === undefined);
  return more ? Object.keys(expected) : undefined;
}

function realOutputs(outputs: Feeds, batch: Batch, named: ReadonlyMap<string, string> = new Map()): Feeds {
  return Object.fromEntries(
    Object.entries(outputs).map(([name, tensor]) => [named.get(name) ?? name, realRows(tensor, batch)]),
  );
}

function checkOutputs(outputs: Feeds, expected: Feeds, model: Model, selected: Comparable['selected']): void {
  for (const [name, tensor] of Object.entries(expected)) {
    const got = outputs[name];
    if (got === undefined)
      throw new QtoolError('runtime', `the changed model has no output "${name}" any more`, { at: model.path ?? name });
    if (got.data.length !== tensor.data.length && !selected.has(name))
      throw new QtoolError(
        'runtime',
        `output "${name}" is [${got.dims.join(', ')}] in the changed model, [${tensor.dims.join(', ')}] in the float model`,
        { at: name },
      );
  }
}

function bytesOf(tensor: Tensor): number {
  if (ArrayBuffer.isView(tensor.data)) return tensor.data.byteLength;
  return tensor.data.reduce((sum, text) => sum + 2 * text.length, 0);
}
