import type { DataConfig, MemorySource } from './config.ts';
import { dataError } from './errors.ts';
import type { SampleSets, Samples } from './given.ts';
import { first, sampleStream, type Counting } from './module.ts';
import type { StreamSource } from './source.ts';

const isOneSet = (given: unknown): given is Samples =>
  typeof given === 'function' ||
  (typeof given === 'object' && given !== null && (Symbol.iterator in given || Symbol.asyncIterator in given));

/** Whether these are samples, not what a data config says. */
export function isSamples(given: object): given is Samples | SampleSets {
  const sets = given as Partial<Record<'calibration' | 'validation', unknown>>;
  return isOneSet(given) || isOneSet(sets.calibration) || isOneSet(sets.validation);
}

/** What stands for a data config where the samples are in memory. @throws QtoolError('data') where one of two sets is none. */
export function memoryConfig(given: Samples | SampleSets): DataConfig {
  const source = (key: string, samples: unknown): MemorySource => {
    if (!isOneSet(samples)) throw dataError(`data.${key} is no iterable of samples, nor a function that returns one`);
    return { kind: 'memory', given: samples };
  };
  const named = isOneSet(given)
    ? { data: given }
    : {
        calibration: given.calibration,
        validation: given.validation,
        ...(given.training === undefined ? {} : { training: given.training }),
      };
  const value = Object.fromEntries(Object.entries(named).map(([key, samples]) => [key, source(key, samples)]));
  return { file: 'data', folder: '.', value, at: () => undefined };
}

/** @throws QtoolError('data') for what is no sample. */
export async function openMemory({ given }: MemorySource, opening: Counting): Promise<StreamSource> {
  let start: () => unknown = () => given;
  if (typeof given === 'function') start = given;
  else if (!Array.isArray(given)) {
    const held: unknown[] = [];
    for await (const sample of first(given, opening)) held.push(sample);
    start = () => held;
  }
  return sampleStream('memory', 'samples in memory', 'sample', start, opening);
}
