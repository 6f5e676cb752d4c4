import { setImmediate } from 'node:timers/promises';
import { dtypes, type DType } from '../graph/dtype.ts';
import { elementCount } from '../graph/tensor.ts';
import type { SourceConfigOf } from './config.ts';
import { QtoolError } from '../util/error.ts';
import { importModule } from '../util/module.ts';
import { dataError } from './errors.ts';
import type { Opening, StreamSource } from './source.ts';
import type { SampleGiven, TensorGiven } from './given.ts';
import type { Feeds, Sample, Target, Tensor } from './types.ts';

/**
 * Samples from a user's module: its export (`default`, or the one named) is an async or plain iterable of samples, or a function
 * of ({ inputs, options, seed }) that returns one, which may carry a `length`. Without a length the samples are counted once.
 */
export async function openModule(config: SourceConfigOf<'module'>, opening: Opening): Promise<StreamSource> {
  const path = opening.find(config.path, 'path');
  const name = config.export ?? 'default';
  const exports = await importModule(path, opening.modules, 'data', opening.at('path'));
  const exported = exports[name];
  if (exported === undefined)
    throw dataError(`the module has no export "${name}"; it has ${Object.keys(exports).join(', ') || 'none'}`, path);
  if (isIterator(exported))
    throw dataError(`the export "${name}" is a generator that runs only once`, path, 'Export the function instead of its result.'); // prettier-ignore
  const { inputs, seed } = opening;
  const start = (): unknown => typeof exported === 'function' ? (exported as (given: unknown) => unknown)({ inputs, seed, options: config.options }) : exported; // prettier-ignore
  return sampleStream('module', config.path, path, start, opening, `the export "${name}"`);
}

/**
 * A source of what programs give. `start` begins a pass over the samples; what it returns may carry a `length`.
 * @param at the place that samples are named by
 * @param what the thing that errors speak of
 */
export async function sampleStream(
  kind: 'module' | 'memory',
  source: string,
  at: string,
  start: () => unknown,
  counting: Counting,
  what = 'the data',
): Promise<StreamSource> {
  const begin = async (): Promise<Stream> => {
    const made = await start();
    if (isStream(made)) return made;
    throw dataError(`${what} is not an iterable of samples, nor a function that returns one`, at);
  };
  const stream = async function* (): AsyncGenerator<Sample> {
    let index = 0;
    for await (const value of await begin()) yield sampleOf(value, `${at}#${index++}`);
  };
  const { length, labelled } = await look(await begin(), stream, counting);
  return { access: 'stream', kind, source, length, labelled, notes: [], stream };
}

/** How far samples are counted, and what ends it. */
export type Counting = Pick<Opening, 'most' | 'signal'>;

/** Milliseconds after which a stream that never waits lets timers run: one of them may be the signal's. */
const breath = 20;

/** The first `most` of a stream, until the signal fires, which is seen between samples. @throws QtoolError `cancelled`. */
export async function* first<T>(stream: AsyncIterable<T> | Iterable<T>, { most, signal }: Counting): AsyncGenerator<T> {
  let given = 0;
  let last = performance.now();
  for await (const value of stream) {
    if (performance.now() - last > breath) {
      await setImmediate();
      last = performance.now();
    }
    if (signal?.aborted) throw new QtoolError('cancelled', 'cancelled');
    yield value;
    if (++given >= most) return;
  }
}

type Stream = (AsyncIterable<unknown> | Iterable<unknown>) & { readonly length?: unknown };

const isStream = (value: unknown): value is Stream =>
  typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || Symbol.iterator in value);
const isIterator = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'next' in value && isStream(value);

async function look(
  made: Stream,
  stream: () => AsyncGenerator<Sample>,
  counting: Counting,
): Promise<{ length: number; labelled: boolean }> {
  const stated = Number.isInteger(made.length) ? (made.length as number) : undefined;
  let length = 0;
  let labelled = false;
  for await (const sample of first(stream(), counting)) {
    length += 1;
    labelled ||= sample.target?.label !== undefined;
    if (stated !== undefined) break;
  }
  return { length: stated ?? length, labelled };
}

function sampleOf(value: unknown, at: string): Sample {
  if (typeof value !== 'object' || value === null || !('feeds' in value))
    throw dataError('this is not a sample', at, 'A sample is { feeds: { <input>: { dims, data } }, label }.'); // prettier-ignore
  const { id, feeds, label, expected } = value as SampleGiven;
  const target: Target = {
    ...(label === undefined ? {} : { label: labelOf(label, at) }),
    ...(expected === undefined ? {} : { expected: tensors(expected, at) }),
  };
  return { id: id ?? at, feeds: tensors(feeds, at), ...(Object.keys(target).length > 0 ? { target } : {}) };
}

function labelOf(label: unknown, at: string): Int32Array {
  const isList = Array.isArray(label) || (ArrayBuffer.isView(label) && !(label instanceof DataView));
  const list: unknown[] = isList ? Array.from(label as ArrayLike<unknown>) : [label];
  // Labels of int64 come as bigint.
  const numbers = list.map((one) => (typeof one === 'bigint' ? Number(one) : one));
  const wrong = numbers.findIndex((one) => !Number.isInteger(one) || Math.abs(one as number) >= 2 ** 31);
  if (wrong >= 0 || list.length === 0) {
    const text = list.length === 0 ? 'of nothing' : typeof list[wrong] === 'string' ? `"${String(list[wrong])}"` : String(list[wrong]); // prettier-ignore
    throw dataError(`the label ${text} is not a class index`, at, 'A label is a whole number, or a list of them.');
  }
  return Int32Array.from(numbers as number[]);
}

function tensors(given: Readonly<Record<string, TensorGiven>>, at: string): Feeds {
  return Object.fromEntries(Object.entries(given).map(([name, tensor]) => [name, tensorOf(name, tensor, at)]));
}

/** The first type that such arrays hold: uint16, not float16; undefined for what is no typed array of one. */
function typeOf(data: TensorGiven['data'] | undefined): DType | undefined {
  const name = data?.constructor?.name;
  return (Object.keys(dtypes) as DType[]).find((type) => dtypes[type].array?.name === name && name !== undefined);
}

function tensorOf(name: string, { type, dims, data }: TensorGiven, at: string): Tensor {
  const own = Array.isArray(data) ? 'string' : typeOf(data);
  const asked = type ?? own;
  const fits = asked !== undefined && (asked === 'string' ? Array.isArray(data) : dtypes[asked]?.array?.name === data?.constructor?.name); // prettier-ignore
  if (asked === undefined || !fits || !Array.isArray(dims))
    throw dataError(`the tensor "${name}" is not { dims, data } with a typed array${type === undefined ? '' : ` of ${type}`}`, at); // prettier-ignore
  if (elementCount(dims as number[]) !== data.length)
    throw dataError(`the tensor "${name}" has ${data.length} elements, its shape [${dims.join(', ')}] says ${elementCount(dims as number[])}`, at); // prettier-ignore
  return { type: asked, dims: dims as number[], data };
}
