import { fixedBatch } from '../data/layout.ts';
import type { Batch, Feeds, Tensor } from '../data/types.ts';
import { dtypes } from '../graph/dtype.ts';
import type { Model } from '../graph/model.ts';
import { modelInputs } from '../graph/query.ts';
import type { Shapes } from '../graph/shapes.ts';
import { elementCount } from '../graph/tensor.ts';
import { QtoolError } from '../util/error.ts';
import { inferShapes } from './shapes.ts';

/** How the values of a collection are taken: `passes` lists the values read in each pass over the data. */
export interface CollectPlan {
  readonly passes: readonly (readonly string[])[];
  /** Samples of the first one's shape that one run may take; batches above it are cut. */
  readonly rows: number;
  /** Whether batches can be cut: not those of a model with a fixed batch. */
  readonly divisible: boolean;
  /** Bytes that the largest run returns, by the shapes of the first sample. */
  readonly bytes: number;
  /** Elements of the inputs of one sample, as the plan saw them. */
  readonly probeElements: number;
  /** Types and shapes of the model's values on `probeSamples` samples: one, or the fixed batch. */
  readonly shapes: Shapes;
  readonly probeSamples: number;
}

const defaultMemoryLimit = 256 * 2 ** 20;

/** Bytes that a value of this type and shape takes when it is returned whole. */
export function wholeBytes({ type, dims }: ValueShape): number {
  // A string's length is unknown before it is there; 64 bytes is what a short one costs in V8.
  return elementCount(dims) * ((dtypes[type].bits || 512) / 8);
}

export type ValueShape = NonNullable<ReturnType<Shapes['get']>>;

/**
 * Plans the collection of values that the model computes, by the shapes of the first sample of the data.
 *
 * @param bytesOf what a value of some shape costs, where not all of it is returned.
 * @param known what `inferShapes` gave for a first sample, which saves a session if this one is of the same shape.
 * @throws QtoolError `data` without any sample.
 */
export async function planFor(
  model: Model,
  batches: () => AsyncIterable<Batch>,
  values: readonly string[],
  memoryLimit = defaultMemoryLimit,
  bytesOf: (shape: ValueShape, value: string, samples: number) => number = wholeBytes,
  known?: Shapes,
): Promise<CollectPlan> {
  const first = await firstBatch(batches);
  const free = fixedBatch(modelInputs(model)) === undefined && divisible(first);
  const [probe = first] = free ? pieces(first, 1) : [];
  const inferred = async (): Promise<Shapes> => (shapesFit(known, probe) ? known : inferShapes(model, probe));
  const shapes: Shapes = values.length === 0 ? new Map() : await inferred();
  const sizes = values.map((value): readonly [string, number] => {
    const shape = shapes.get(value);
    return [value, shape === undefined ? 0 : bytesOf(shape, value, probe.size) / probe.size];
  });
  const fitted = fit(sizes, first.size, free, memoryLimit);
  return { ...fitted, divisible: free, probeElements: elementsPerSample(probe), shapes, probeSamples: probe.size };
}

/** Whether shapes are those on a batch like this one. */
function shapesFit(shapes: Shapes | undefined, { feeds }: Batch): shapes is Shapes {
  if (shapes === undefined) return false;
  return Object.entries(feeds).every(([name, { dims }]) => shapes.get(name)?.dims.join() === dims.join());
}

async function firstBatch(batches: () => AsyncIterable<Batch>): Promise<Batch> {
  for await (const batch of batches()) return batch;
  throw new QtoolError('data', 'there is no sample to run', { hint: 'the dataset is empty or its limit is 0' });
}

/**
 * Fits a collection into `memoryLimit` bytes returned by one run. Fewer samples a run cost little, more passes cost a whole
 * run of the data each: so the rows go down to one sample first (where the model allows it), then the values are taken in
 * groups, in graph order. A single value over the limit has a pass of its own.
 *
 * @param sizes bytes of one sample of each value.
 * @param rows the samples a run would like to take; `divisible` says whether it may take fewer.
 */
function fit(
  sizes: readonly (readonly [string, number])[],
  rows: number,
  divisible: boolean,
  memoryLimit: number,
): Pick<CollectPlan, 'passes' | 'rows' | 'bytes'> {
  const total = sizes.reduce((sum, [, size]) => sum + size, 0);
  const fitting = Math.max(1, Math.floor(memoryLimit / Math.max(total, 1)));
  const taken = divisible ? Math.min(rows, fitting) : rows;
  let pass: string[] = [];
  const passes = [pass];
  let room = memoryLimit;
  let largest = 0;
  for (const [name, size] of sizes) {
    const bytes = size * taken;
    if (bytes > room && pass.length > 0) {
      passes.push((pass = []));
      room = memoryLimit;
    }
    pass.push(name);
    room -= bytes;
    largest = Math.max(largest, memoryLimit - room);
  }
  return { passes, rows: divisible ? fitting : rows, bytes: largest };
}

/** Whether a batch can be cut along axis 0: every feed has one row, or a whole number of rows, a sample. */
function divisible(batch: Batch): boolean {
  return Object.values(batch.feeds).every(
    (tensor) => (tensor.dims[0] ?? 0) % batch.size === 0 && tensor.dims.length > 0,
  );
}

/**
 * Samples one run may take of this batch: fewer than planned where its samples are larger than the first one was (mixed
 * image sizes), taking the collected values to grow as the inputs do.
 */
export function rowsFor(batch: Batch, plan: CollectPlan): number {
  if (!plan.divisible) return batch.size;
  const growth = elementsPerSample(batch) / plan.probeElements;
  return growth > 1 ? Math.max(1, Math.floor(plan.rows / growth)) : plan.rows;
}

function elementsPerSample(batch: Batch): number {
  return Object.values(batch.feeds).reduce((sum, tensor) => sum + tensor.data.length, 0) / batch.size;
}

/** The batch in pieces of at most `rows` samples. Data are views, not copies. */
export function* pieces(batch: Batch, rows: number): Generator<Batch> {
  if (batch.size <= rows) {
    yield batch;
    return;
  }
  // Padding is there for models of fixed batch only, and those are not cut.
  for (let from = 0; from < batch.count; from += rows) {
    const to = Math.min(from + rows, batch.count);
    const [ids, targets] = [batch.ids.slice(from, to), batch.targets.slice(from, to)];
    yield { ids, feeds: feedsOf(batch, from, to), targets, count: to - from, size: to - from };
  }
}

/** The batch in parts of at least `rows` samples and fewer than twice as many, as even as can be. Data are views, not copies. */
export function* evenParts(batch: Batch, rows: number): Generator<Feeds> {
  const parts = Math.max(1, Math.floor(batch.size / rows));
  for (let i = 0; i < parts; i++) {
    const [from, to] = [i, i + 1].map((k) => Math.floor((k * batch.size) / parts)) as [number, number];
    yield feedsOf(batch, from, to);
  }
}

const feedsOf = ({ feeds, size }: Batch, from: number, to: number): Feeds =>
  Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, sliceRows(tensor, size, from, to)]));

/** Samples `from` to `to` of a tensor that holds `size` samples along axis 0, a whole number of rows each. */
export function sliceRows(tensor: Tensor, size: number, from: number, to: number): Tensor {
  const rows = (tensor.dims[0] ?? 0) / size;
  const width = tensor.data.length / size;
  const [start, end] = [from * width, to * width];
  const data = Array.isArray(tensor.data)
    ? (tensor.data as string[]).slice(start, end)
    : (tensor.data as Float32Array).subarray(start, end);
  return { type: tensor.type, dims: [rows * (to - from), ...tensor.dims.slice(1)], data };
}
