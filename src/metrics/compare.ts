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
  { batch, outputs, reference }: MetricInput,
  options: CompareOptions,
  metric: string,
): Generator<Pair> {
  const wanted = options.output === undefined ? undefined : [options.output];
  const names = wanted ?? Object.keys(outputs).filter((name) => isFloat(outputs[name]!));
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

/** A number for each output, made when first asked for. */
export function perOutput<T>(state: Map<string, T>, output: string, start: () => T): T {
  let found = state.get(output);
  if (found === undefined) state.set(output, (found = start()));
  return found;
}

/** Sums of two states, output by output and field by field. */
export function mergeSums<T extends Record<keyof T, number>>(a: Map<string, T>, b: Map<string, T>): Map<string, T> {
  const merged = new Map(a);
  for (const [output, sums] of b) {
    const other = merged.get(output);
    const entries = (Object.keys(sums) as (keyof T)[]).map((key) => [key, sums[key] + (other?.[key] ?? 0)]);
    merged.set(output, Object.fromEntries(entries) as T);
  }
  return merged;
}

/** The field-wise sum over all outputs. */
export function totalOf<T extends Record<keyof T, number>>(state: Map<string, T>): T | undefined {
  let sum = new Map<string, T>();
  for (const sums of state.values()) sum = mergeSums(sum, new Map([['', sums]]));
  return sum.get('');
}

/** What a metric that compares outputs is called and counted in, and its value where they are equal. */
export interface Distance extends Pick<MetricResult, 'name' | 'unit' | 'higherIsBetter'> {
  readonly equal: number;
}

/** Against expected outputs the float model has a value of its own, which no one knows before it is measured. */
export function distanceFacts(
  { name, equal }: Distance,
  { against }: CompareOptions,
): Pick<Metric, 'name' | 'needs' | 'perfect'> {
  return { name, needs: 'reference', perfect: against === 'expected' ? undefined : equal };
}

/**
 * The result of sums that were kept for each output.
 * @param value of one output's sums, or over all outputs; of the model itself (`own`) or the float model (`float`).
 */
export function finishPairs<S extends { readonly samples: number }>(
  state: ReadonlyMap<string, S>,
  { name, unit, higherIsBetter, equal }: Distance,
  { against }: CompareOptions,
  value: (which: 'own' | 'float', sums?: S) => number,
): MetricResult {
  const all = [...state];
  const samples = Math.max(0, ...all.map(([, sums]) => sums.samples));
  const perOutput = Object.fromEntries(all.map(([output, sums]) => [output, value('own', sums)]));
  const own = { name, value: value('own'), unit, higherIsBetter, samples, perOutput };
  return compared(own, against === 'expected' ? value('float') : equal);
}
