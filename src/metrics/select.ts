import type { Feeds, Tensor } from '../data/types.ts';
import type { TypedArray } from '../graph/dtype.ts';
import { elementCount } from '../graph/tensor.ts';
import { fromFloat16 } from '../numerics/float16.ts';
import { didYouMean } from '../util/suggest.ts';
import { QtoolError } from '../util/error.ts';
import type { MetricInput } from './metric.ts';

/**
 * Scores of classes at positions: element (sample, position, class) is data[sample · step + position · classes · inner + …]. Where
 * the model ends in ArgMax, an element is the `chosen` class itself: one a position (classes = inner = 1).
 */
export interface Scores {
  readonly name: string;
  readonly data: ArrayLike<number>;
  readonly classes: number;
  /** Positions of one sample; 1 for plain classification. */
  readonly positions: number;
  /** Distance of two classes in `data`; 1 where the class axis is the last. */
  readonly inner: number;
  readonly chosen: boolean;
}

const floats = new Set(['float32', 'float64', 'float16']);

export function isFloat({ type }: Pick<Tensor, 'type'>): boolean {
  return floats.has(type);
}

/** The elements of a float tensor as numbers. */
export function numbersOf(tensor: Tensor): Float32Array | Float64Array {
  return tensor.type === 'float16'
    ? fromFloat16(tensor.data as Uint16Array)
    : (tensor.data as TypedArray as Float32Array);
}

/** A tensor of a model's outputs by name. @throws QtoolError `usage` with the nearest name. */
export function outputNamed(outputs: Feeds, name: string, metric: string): Tensor {
  const found = outputs[name];
  if (found) return found;
  const names = Object.keys(outputs);
  throw new QtoolError('usage', `metric ${metric}: the model has no output "${name}"${didYouMean(name, names)}; it has ${names.join(', ')}`); // prettier-ignore
}

/**
 * Reads an output as class scores, or as classes where it is of whole numbers. The class axis is `axis`, or the last one after axes of size 1 (beyond the batch) are left
 * out. Undefined where the tensor is of text or has no such axis.
 */
function scoresOf(name: string, tensor: Tensor, size: number, axis: number | undefined): Scores | undefined {
  const { dims } = tensor;
  if (dims[0] === undefined || dims[0] % size !== 0 || tensor.type === 'string') return undefined;
  if (!isFloat(tensor)) {
    const data = Float64Array.from(tensor.data as ArrayLike<number>, Number);
    return { name, data, classes: 1, positions: data.length / size, inner: 1, chosen: true };
  }
  if (dims.length < 2 || dims[0] !== size) return undefined;
  let at: number;
  if (axis === undefined) {
    at = dims.length - 1;
    while (at > 1 && dims[at] === 1) at--;
  } else {
    at = axis < 0 ? dims.length + axis : axis;
    if (at < 1 || at >= dims.length) return undefined;
  }
  const inner = elementCount(dims.slice(at + 1));
  const positions = elementCount(dims.slice(1, at)) * inner;
  return { name, data: numbersOf(tensor), classes: dims[at]!, positions, inner, chosen: false };
}

export interface ScoreOptions {
  readonly output?: string | undefined;
  readonly axis?: number | undefined;
}

/**
 * The first output (or the one named) that has scores for as many positions as each sample has labels; where none has, the
 * first of whole numbers.
 * @throws QtoolError where there is none.
 */
export function selectScores(
  outputs: Feeds,
  size: number,
  positions: number | undefined,
  options: ScoreOptions,
  metric: string,
): Scores {
  const names = options.output === undefined ? Object.keys(outputs) : [options.output];
  const all = names.flatMap((name) => scoresOf(name, outputNamed(outputs, name, metric), size, options.axis) ?? []);
  const fitting = all.filter((scores) => positions === undefined || scores.positions === positions);
  const best = fitting.find(({ classes }) => classes > 1) ?? fitting.find(({ chosen }) => chosen);
  if (best) return best;
  const shapes = names.map((name) => `${name} [${outputs[name]?.dims.join(', ')}]`).join(', ');
  const wanted = positions === undefined ? 'class scores' : `scores for ${positions} label${positions === 1 ? '' : 's'} a sample`; // prettier-ignore
  throw new QtoolError('data', `metric ${metric}: no output has ${wanted}; there is ${shapes}`, {
    hint: 'Name the output and its class axis: metric: { name: …, output: …, axis: … }.',
  });
}

/** What `selectScores` finds in the model's outputs, and the same output of the float model. */
export function bothScores(
  { batch, outputs, reference }: MetricInput,
  positions: number | undefined,
  options: ScoreOptions,
  metric: string,
): { readonly own: Scores; readonly float: Scores } {
  const own = selectScores(outputs, batch.size, positions, options, metric);
  const same = { output: own.name, axis: options.axis };
  return { own, float: selectScores(reference, batch.size, positions ?? own.positions, same, metric) };
}

/** Index of the first element of one position's scores. */
export function startOf({ classes, inner, positions }: Scores, sample: number, position: number): number {
  const outer = Math.floor(position / inner);
  return sample * positions * classes + outer * classes * inner + (position % inner);
}

/** The class of the highest score (the first of equals); NaN counts as higher than all, as in numpy and torch. */
export function argmax({ data, classes, inner, chosen }: Scores, start: number): number {
  if (chosen) return data[start]!;
  let best = 0;
  let most = data[start]!;
  for (let c = 1; c < classes && !Number.isNaN(most); c++) {
    const value = data[start + c * inner]!;
    if (value > most || Number.isNaN(value)) [best, most] = [c, value];
  }
  return best;
}

/** How many classes come before `label`: with a higher score, or an equal one and a lower index. NaN comes before all numbers. */
export function rankOf({ data, classes, inner, chosen }: Scores, start: number, label: number): number {
  if (chosen) return data[start] === label ? 0 : Infinity;
  const own = data[start + label * inner]!;
  if (Number.isNaN(own)) return classes;
  let rank = 0;
  for (let c = 0; c < classes; c++) {
    const value = data[start + c * inner]!;
    if (!(value <= own) || (value === own && c < label)) rank++;
  }
  return rank;
}
