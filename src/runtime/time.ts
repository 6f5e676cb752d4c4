import { fixedBatch } from '../data/layout.ts';
import type { Feeds, Tensor } from '../data/types.ts';
import type { TypedArray, TypedArrayConstructor } from '../graph/dtype.ts';
import type { Model } from '../graph/model.ts';
import { modelInputs } from '../graph/query.ts';
import { checkCancelled } from './capture.ts';
import { withSession, type Session } from './session.ts';

/** Median latency of interleaved runs against the float model at one batch size; ratio = float / this (above 1 = faster). */
export interface Latency {
  readonly batch: number;
  readonly milliseconds: number;
  readonly floatMilliseconds: number;
  readonly ratio: number;
  /** Interquartile range of the paired ratios. */
  readonly ratioLow: number;
  readonly ratioHigh: number;
  readonly rounds: number;
}

export interface LatencyOptions {
  /** Batch sizes; default 1 and 32. A model of fixed batch is timed at that one only. */
  readonly batches?: readonly number[];
  /** Rounds at most, default 200; one round runs both models once (or, if they are quick, for two milliseconds each). */
  readonly rounds?: number;
  /** Seconds for each batch size after warming up, default 2. At least three rounds are run whatever they take. */
  readonly seconds?: number;
  readonly signal?: AbortSignal;
}

const leastRounds = 3;
/** A reading shorter than this says more about the clock and the scheduler than about the model, in ms. */
const shortestReading = 2;

/**
 * Times a candidate against the float model on one thread: A B, B A, A B … so that whatever slows the machine meets both, and
 * judges by the ratios of the pairs. Stops early once the median ratio is sure to about 0.5 %.
 *
 * @param feeds samples of any number, repeated along axis 0 to each batch size.
 */
export async function latency(
  candidate: Model,
  float: Model,
  feeds: Feeds,
  options: LatencyOptions = {},
): Promise<Latency[]> {
  const fixed = fixedBatch(modelInputs(float)) ?? fixedBatch(modelInputs(candidate));
  // A sample that is a whole input cannot be repeated along axis 0.
  const whole = new Set(Object.values(feeds).flatMap(({ dims }) => dims.slice(0, 1))).size > 1;
  const batches = whole ? [1] : fixed === undefined ? (options.batches ?? [1, 32]) : [fixed];
  // One thread: with two sessions in a process, the idle threads of one disturb the other.
  return withSession(float, { threads: 1, packed: true }, (floatSession) =>
    withSession(candidate, { threads: 1, packed: true }, async (session) => {
      const results: Latency[] = [];
      for (const batch of batches) {
        const given = whole ? feeds : withRows(float, feeds, batch);
        results.push({ batch, ...pairedRatios(await pairs(session, floatSession, given, options)) });
      }
      return results;
    }),
  );
}

/** Milliseconds of one run of the candidate and of the float model, taken right after each other. */
export type Pair = readonly [candidate: number, float: number];

async function pairs(candidate: Session, float: Session, feeds: Feeds, options: LatencyOptions): Promise<Pair[]> {
  const most = options.rounds ?? 200;
  const budget = (options.seconds ?? 2) * 1000;
  const [warmCandidate, warmFloat] = [await warm(candidate, feeds), await warm(float, feeds)];
  const repeats = Math.ceil(shortestReading / Math.max(Math.min(warmCandidate, warmFloat), 0.01));
  const done: Pair[] = [];
  const end = performance.now() + budget;
  while (done.length < most) {
    checkCancelled(options.signal);
    if (done.length % 2 === 0) {
      const first = await read(candidate, feeds, repeats);
      done.push([first, await read(float, feeds, repeats)]);
    } else {
      const first = await read(float, feeds, repeats);
      done.push([await read(candidate, feeds, repeats), first]);
    }
    if (done.length >= leastRounds && (performance.now() > end || isSure(done))) break;
  }
  return done;
}

/** The first run allocates, the second is still cold; a slow model is past both after one. */
async function warm(session: Session, feeds: Feeds): Promise<number> {
  const first = await read(session, feeds, 1);
  if (first > 200) return first;
  await read(session, feeds, 2);
  return read(session, feeds, 1);
}

async function read(session: Session, feeds: Feeds, repeats: number): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < repeats; i++) await session.run(feeds);
  return (performance.now() - start) / repeats;
}

/** Whether the standard error of the median ratio (1.25 σ / √n, σ = IQR / 1.35 for a normal spread) is below 0.25 %. */
function isSure(done: readonly Pair[]): boolean {
  if (done.length < 20) return false;
  const { ratio, ratioLow, ratioHigh } = pairedRatios(done);
  return (1.25 * (ratioHigh - ratioLow)) / 1.35 / Math.sqrt(done.length) < 0.0025 * ratio;
}

/** Medians of the readings, median and quartiles of the pairs' ratios float / candidate. */
export function pairedRatios(done: readonly Pair[]): Omit<Latency, 'batch'> {
  const ratios = done.map(([candidate, float]) => float / candidate);
  const median = (values: readonly number[]): number => quantile(values, 0.5);
  return {
    milliseconds: median(done.map(([candidate]) => candidate)),
    floatMilliseconds: median(done.map(([, float]) => float)),
    ratio: median(ratios),
    ratioLow: quantile(ratios, 0.25),
    ratioHigh: quantile(ratios, 0.75),
    rounds: done.length,
  };
}

/** Linear interpolation between order statistics (Hyndman & Fan 1996, type 7). */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(at)] ?? NaN, sorted[Math.ceil(at)] ?? NaN];
  return low + (high - low) * (at - Math.floor(at));
}

/** The feeds with `rows` samples, the given ones over and over; inputs whose axis 0 the model fixes stay as they are. */
export function withRows(model: Model, feeds: Feeds, rows: number): Feeds {
  const fixed = modelInputs(model).filter((input) => typeof input.dims?.[0] === 'number');
  const keeps = (name: string): boolean => fixed.some((input) => input.name === name);
  return Object.fromEntries(
    Object.entries(feeds).map(([name, tensor]) => [name, keeps(name) ? tensor : repeated(tensor, rows)]),
  );
}

function repeated(tensor: Tensor, rows: number): Tensor {
  const had = tensor.dims[0];
  if (had === undefined || had === rows || had === 0) return tensor;
  const width = tensor.data.length / had;
  const dims = [rows, ...tensor.dims.slice(1)];
  if (!ArrayBuffer.isView(tensor.data)) {
    const texts = tensor.data;
    const data = Array.from({ length: rows * width }, (_, i) => texts[i % texts.length] ?? '');
    return { type: tensor.type, dims, data };
  }
  const from = tensor.data as Float32Array;
  const data = new (from.constructor as TypedArrayConstructor)(rows * width) as Float32Array;
  for (let row = 0; row < rows; row++)
    data.set(from.subarray((row % had) * width, ((row % had) + 1) * width), row * width);
  return { type: tensor.type, dims, data: data as TypedArray };
}
