import * as z from 'zod';
import type { Tensor } from '../data/types.ts';
import { QtoolError } from '../util/error.ts';
import { compared, type Metric, type MetricInput, type MetricResult } from './metric.ts';
import { isFloat, numbersOf, outputNamed } from './select.ts';

export const compareOptions = z.strictObject({
  output: z.string().min(1).describe('The model output. Default: all of floats.').optional(),
  against: z.enum(['float', 'expected']).describe("What it is compared with: the float model's outputs (default), or the expected ones in the data.").optional(), // prettier-ignore
});

export type CompareOptions = z.infer<typeof compareOptions>;

type Numbers = Float32Array | Float64Array;

/** One sample of one output: what came out, what should have, and what the float model gave. */
export interface Pair {
  readonly output: string;
  readonly own: Numbers;
  readonly wanted: Numbers;
  readonly float: Numbers;
}

/**
 * The outputs of a batch, sample by sample, without padding samples. An output whose axis 0 is not the batch (or a multiple of
 * it) comes whole. @throws QtoolError where nothing can be compared.
 */
export function* pairs(
  { batch, outputs, reference, compared }: MetricInput,
  options: CompareOptions,
  metric: string,
): Generator<Pair> {
  const wanted = options.output === undefined ? undefined : [options.output];
  const names = wanted ?? (compared ?? Object.keys(outputs)).filter((name) => isFloat(outputs[name]!));
  for (const name of names) if (!isFloat(outputNamed(outputs, name, metric))) throw fault(metric, `output "${name}" is of type ${outputs[name]!.type}, not of floats`); // prettier-ignore
  if (names.length === 0) throw fault(metric, 'no output is of floats');
  for (const name of names) {
    const own = outputs[name]!;
    const float = outputNamed(reference, name, metric);
    if (own.dims.join() !== float.dims.join()) throw fault(metric, `output "${name}" has the shape ${shape(own)}, the float model's ${shape(float)}`); // prettier-ignore
    const [ownData, floatData] = [numbersOf(own), numbersOf(float)];
    const rows = own.dims[0];
    const parts = rows !== undefined && rows % batch.size === 0 ? batch.size : 1;
    const length = ownData.length / parts;
    for (let sample = 0; sample < Math.min(parts, batch.count); sample++) {
      const slice = (data: Numbers): Numbers => data.subarray(sample * length, (sample + 1) * length);
      const floatPart = slice(floatData);
      const target = options.against === 'expected' ? expectedOf(batch.targets[sample]?.expected?.[name], name, length, batch.ids[sample]!, metric) : floatPart; // prettier-ignore
      yield { output: name, own: slice(ownData), wanted: target, float: floatPart };
    }
  }
}

function expectedOf(tensor: Tensor | undefined, name: string, length: number, id: string, metric: string): Numbers {
  if (tensor === undefined) throw fault(metric, `the data has no expected output "${name}"`, id);
  const data = isFloat(tensor) ? numbersOf(tensor) : Float64Array.from(tensor.data as ArrayLike<number>, Number);
  if (data.length !== length) throw fault(metric, `the expected output "${name}" has the shape ${shape(tensor)}: ${data.length} elements, the model gives ${length}`, id); // prettier-ignore
  return data;
}

const shape = (tensor: Tensor): string => `[${tensor.dims.join(', ')}]`;
const fault = (metric: string, message: string, at?: string): QtoolError => new QtoolError('data', `metric ${metric}: ${message}`, { at }); // prettier-ignore

/** A metric that compares outputs, by sums that are kept for each output. */
export interface Distance<S> extends Pick<MetricResult, 'name' | 'unit' | 'higherIsBetter'>, Pick<Metric, 'summary'> {
  /** Its value where the outputs are equal. */
  readonly equal: number;
  /** The sums of no sample. */
  start(): S;
  /** Adds a sample, all but the number of samples. */
  add(sums: S, pair: Pair): void;
  /** Two parts together; summed field by field if not given. */
  readonly joined?: (a: S, b: S) => S;
  /** Of the model itself (`own`) or the float model (`float`). */
  value(sums: S, which: 'own' | 'float'): number;
  /** Over several outputs, from the value of each; that of all outputs' sums together if not given. */
  overall?(values: readonly number[]): number;
}

/** Field by field. */
export function summed<S extends Record<keyof S, number>>(a: S, b: S): S {
  const fields = (Object.keys(a) as (keyof S)[]).map((key) => [key, a[key] + b[key]]);
  return Object.fromEntries(fields) as S;
}

/** Against expected outputs the float model has a value of its own, which no one knows before it is measured. */
export function distance<S extends Record<keyof S, number> & { samples: number }>(
  options: CompareOptions,
  { name, unit, higherIsBetter, summary, equal, joined = summed, ...of }: Distance<S>,
): Metric<Map<string, S>> {
  const own = options.against === 'expected';
  return {
    name,
    needs: 'reference',
    perfect: own ? undefined : equal,
    summary,
    start: () => new Map(),
    add(state, input) {
      for (const pair of pairs(input, options, name)) {
        const sums = state.get(pair.output) ?? of.start();
        state.set(pair.output, sums);
        sums.samples += 1;
        of.add(sums, pair);
      }
      return state;
    },
    finish(state) {
      const all = [...state.values()];
      const overall = (which: 'own' | 'float'): number => {
        if (all.length === 0) return NaN;
        return of.overall?.(all.map((sums) => of.value(sums, which))) ?? of.value(all.reduce(joined), which);
      };
      const samples = Math.max(0, ...all.map((sums) => sums.samples));
      const perOutput = Object.fromEntries([...state].map(([output, sums]) => [output, of.value(sums, 'own')]));
      const result = { name, value: overall('own'), unit, higherIsBetter, samples, perOutput };
      return compared(result, own ? overall('float') : equal);
    },
  };
}
