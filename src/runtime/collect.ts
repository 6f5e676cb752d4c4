import type { Batch, Tensor } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import { opset } from '../graph/query.ts';
import type { Shapes } from '../graph/shapes.ts';
import type { AnyFold } from '../numerics/fold.ts';
import { given, must } from '../util/must.ts';
import { piecesOf, realRows } from './capture.ts';
import { constantsAmong, exposable, expose } from './expose.ts';
import { evenParts, planFor, wholeBytes, type CollectPlan, type ValueShape } from './plan.ts';
import { withSession, type SessionOptions } from './session.ts';
import { openTap, plainStep, stepFor, type Reading, type Tap, type TapPoint } from './tap.ts';

export interface CollectOptions extends SessionOptions {
  /** Bytes that one run may return; default 256 MiB. */
  readonly memoryLimit?: number | undefined;
  /**
   * Folds that read `elements` are given about so many of each sample of a value, evenly spread, instead of all. A million of a
   * value over all samples leave 100 beyond the 99.99th percentile.
   */
  readonly elements?: number | undefined;
  /** What `inferShapes` gave for a sample: where the first one has the same shape, it is not asked again. */
  readonly shapes?: Shapes;
  readonly signal?: AbortSignal;
  /** Called once, before the first run: how many passes there will be. */
  readonly planned?: (plan: CollectPlan) => void;
  /** Called after every run: samples done, counted over all passes, and in which pass. */
  readonly progress?: (samples: number, pass: number) => void;
}

type Wanted<R> = ReadonlyMap<string, readonly AnyFold<Tensor, R>[]>;

/**
 * Runs batches through the model and folds every wanted value as they come: value name → folds; the result has the folds'
 * results in the same order. Nothing is kept but the folds' states; a tensor is a fold's during `add` only, the next run writes
 * over it. A fold that declares what it `reads` is given that much,
 * the others see every value whole, in the order of the data.
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
  const constants = constantsAmong(model, values);
  const [elements, version] = [options.elements ?? Infinity, opset(model)];
  const tapsOf = (value: string, shape: ValueShape, samples: number): FoldTap[] =>
    foldTaps(value, wanted.get(value) ?? [], shape, samples, (dims) => stepFor(dims, elements, version));
  const costOf = (shape: ValueShape, value: string, samples: number): number =>
    tapsOf(value, shape, samples).reduce((bytes, tap) => bytes + bytesOf(tap, shape), 0);
  const plan = await planFor(model, batches, computed, options.memoryLimit, costOf, options.shapes);
  options.planned?.(plan);

  const states = new Map(values.map((value) => [value, wanted.get(value)?.map((fold) => fold.start()) ?? []]));
  const feed = (value: string, folds: readonly number[], tensor: Tensor, batch: Batch): void => {
    const state = states.get(value) ?? [];
    const rows = constants.has(value) ? tensor : realRows(tensor, batch);
    for (const i of folds) state[i] = wanted.get(value)?.[i]?.add(state[i], rows);
  };
  const inputs = values
    .filter((value) => !computed.includes(value))
    .map((value): FoldTap => ({ value, reading: 'tensor', step: 1, folds: indices(wanted.get(value) ?? []) }));

  let samples = 0;
  for (const [pass, group] of plan.passes.entries()) {
    const taps = group.flatMap((value) => tapsOf(value, must(plan.shapes, value, 'the shape of'), plan.probeSamples));
    const open = taps.length > 0 ? await openTap(model, taps, plan.shapes, options) : undefined;
    try {
      for await (const piece of piecesOf(batches(), plan, options.signal)) {
        const { tensors, finite } = open ? await runTap(open, taps, piece, plan) : { tensors: [], finite: true };
        if (!finite) await lookAtAll(model, taps, wanted, piece, options);
        for (const [i, { value, folds }] of taps.entries()) feed(value, folds, tensors[i]!, piece);
        if (pass === 0)
          for (const { value, folds } of inputs)
            feed(value, folds, given(constants.get(value) ?? piece.feeds[value], value), piece);
        samples += piece.count;
        options.progress?.(samples, pass);
      }
    } finally {
      await open?.close();
    }
  }
  return new Map(
    values.map((value) => [value, (wanted.get(value) ?? []).map((fold, i) => fold.finish(states.get(value)?.[i]))]),
  );
}

/** Bytes of the largest value of one run: less, and starting threads costs more than what is saved by values that are still in the cache. */
const cached = 2 ** 21;

/**
 * Runs one batch. Where extremes are all that is wanted, it goes through the model a few samples at a time, so that values are
 * still in the cache when they are reduced: a quarter less time on MobileNet. The results are those of the whole batch, put
 * together again. Two samples at least: with one, matrix products take another kernel, which rounds otherwise.
 */
async function runTap(
  tap: Tap,
  taps: readonly FoldTap[],
  batch: Batch,
  plan: CollectPlan,
): Promise<Awaited<ReturnType<Tap['run']>>> {
  const largest = Math.max(...taps.map(({ value }) => wholeBytes(must(plan.shapes, value, 'the shape of'))));
  const rows = Math.max(2, Math.floor((cached * plan.probeSamples) / Math.max(largest, 1)));
  const whole = !plan.divisible || batch.size < 2 * rows || taps.some((one) => one.reading !== 'extremes');
  if (whole) return tap.run(batch.feeds);
  const runs: Awaited<ReturnType<Tap['run']>>[] = [];
  for (const feeds of evenParts(batch, rows)) runs.push(await tap.run(feeds));
  const tensors = taps.map((_, i): Tensor => {
    const parts = runs.map((run) => run.tensors[i]!);
    const data = Float32Array.from(parts.flatMap((part) => Array.from(part.data as Float32Array)));
    return { type: 'float32', dims: data.length === 0 ? [0] : [data.length / 2, 2], data };
  });
  return { tensors, finite: runs.every((run) => run.finite) };
}

/** Shows a batch with NaN somewhere to the folds that saw its extremes only, so that those that mind can say so. */
async function lookAtAll<R>(
  model: Model,
  taps: readonly FoldTap[],
  wanted: Wanted<R>,
  batch: Batch,
  options: SessionOptions,
): Promise<void> {
  const values = taps.filter((tap) => tap.reading === 'extremes').map((tap) => tap.value);
  const tensors = await withSession(expose(model, values), options, (session) => session.run(batch.feeds));
  for (const { value, reading, folds } of taps) {
    if (reading !== 'extremes') continue;
    for (const i of folds) {
      const fold = wanted.get(value)?.[i];
      fold?.add(fold.start(), realRows(tensors[value]!, batch));
    }
  }
}

/** A point of the model and the folds of its value that are fed from it, by index. */
interface FoldTap extends TapPoint {
  readonly folds: readonly number[];
}

const indices = (list: readonly unknown[]): number[] => [...list.keys()];

/** What to read of a value so that all its folds are served by no more than they need. */
function foldTaps<R>(
  value: string,
  folds: readonly AnyFold<Tensor, R>[],
  { type, dims }: ValueShape,
  samples: number,
  stepOf: (dims: readonly number[]) => number,
): FoldTap[] {
  const readers = (reads: Reading): number[] => indices(folds).filter((i) => (folds[i]?.reads ?? 'tensor') === reads);
  // A value without a whole number of rows a sample has no extremes or share of a sample.
  const bySample = type === 'float32' && dims.length > 1 && (dims[0] ?? 0) % samples === 0;
  if (!bySample) return [{ value, reading: 'tensor', step: 1, folds: indices(folds) }];
  const [whole, loose, ends] = [readers('tensor'), readers('elements'), readers('extremes')];
  const taps: FoldTap[] = [];
  if (whole.length > 0) taps.push({ value, reading: 'tensor', step: 1, folds: [...whole, ...loose] });
  else if (loose.length > 0) taps.push({ value, reading: 'elements', step: stepOf(dims), folds: loose });
  if (ends.length > 0) taps.push({ value, reading: 'extremes', step: 1, folds: ends });
  return taps;
}

/** Bytes that a tap returns of a value of this shape. */
function bytesOf({ reading, step }: TapPoint, shape: ValueShape): number {
  if (reading === 'extremes') return 8 * (shape.dims[0] ?? 1);
  return wholeBytes(shape) / Math.min(step, plainStep(shape.dims));
}
