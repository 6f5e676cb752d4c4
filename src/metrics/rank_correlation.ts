import * as z from 'zod';
import type { Tensor } from '../data/types.ts';
import { QtoolError } from '../util/error.ts';
import { cosineOf } from './cosine.ts';
import { compared, type Metric, type MetricInput } from './metric.ts';
import { isFloat, numbersOf, outputNamed } from './select.ts';

export const rankCorrelationOptions = z.strictObject({
  output: z.string().min(1).describe('The model output. Default: the first of floats.').optional(),
  pool: z
    .enum(['mean', 'first', 'none'])
    .describe(
      'One vector of those of a sample: their mean, or the first. Default: mean for [N, positions, width], none for [N, width].',
    ) // prettier-ignore
    .optional(),
  mask: z.string().min(1).describe('The model input that says which positions count. Default: attention_mask, where there is one.').optional(), // prettier-ignore
  block: z.int().min(4).max(4096).describe('Each sample is compared with so many others less one. Default 256.').optional(), // prettier-ignore
});

type Options = z.infer<typeof rankCorrelationOptions>;

const name = 'rank_correlation';
/** With fewer others a rank says nothing. */
const leastOthers = 2;

/** The vectors of the last `block` samples, of which sample n stands at n modulo `block`, and the sum over those that were compared. */
interface State {
  readonly own: Float64Array[];
  readonly float: Float64Array[];
  seen: number;
  compared: number;
  sum: number;
}

/**
 * Retrieval agreement: how far a search with these embeddings lists others in the order that it has with the float model's. For each sample, the rank correlation (Spearman, ties
 * by their mean rank) of its cosine similarities to the other samples, under this model and under the float one, averaged over samples; 1 is the same order.
 * Samples are compared within blocks of `block` as they come; those of a last, shorter block with the `block − 1` others seen last, so that the state is
 * 2 · `block` vectors however many samples there are.
 */
export function rankCorrelation(options: Options = {}): Metric<State> {
  const { block = 256 } = options;
  return {
    name,
    needs: 'reference',
    perfect: 1,
    summary: "rank correlation of the embeddings' similarities with the float model's",
    start: () => ({ own: [], float: [], seen: 0, compared: 0, sum: 0 }),
    add(state, input) {
      const [own, float] = [embeddings(input.outputs, input, options), embeddings(input.reference, input, options)];
      for (const [i, vector] of own.entries()) {
        const at = state.seen % block;
        state.own[at] = vector;
        state.float[at] = float[i]!;
        state.seen += 1;
        if (state.seen % block === 0) compareLast(state, block);
      }
      return state;
    },
    finish(given) {
      const state = { ...given };
      compareLast(state, state.seen % block);
      const value = state.compared === 0 ? NaN : state.sum / state.compared;
      return compared({ name, value, unit: '', higherIsBetter: true, samples: state.compared }, 1);
    },
  };
}

/** Adds the correlations of the last `queries` samples, each against all that are held. */
function compareLast(state: State, queries: number): void {
  const held = state.own.length;
  if (held <= leastOthers) return;
  for (let q = 1; q <= queries; q++) {
    const at = (state.seen - q) % held;
    const similarities = (vectors: readonly Float64Array[]): number[] =>
      vectors.flatMap((vector, i) => (i === at ? [] : [cosineOf(vectors[at]!, vector)]));
    state.sum += spearman(similarities(state.own), similarities(state.float));
    state.compared += 1;
  }
}

/**
 * Spearman's rank correlation: Pearson's of the ranks, equal values having the mean of their ranks (M. G. Kendall, Rank Correlation Methods, 1948). Where all
 * values of one side are equal it is 1 if those of the other are too, else 0. NaN where a value is.
 */
export function spearman(a: readonly number[], b: readonly number[]): number {
  if (a.some(Number.isNaN) || b.some(Number.isNaN)) return NaN;
  const [x, y] = [ranks(a), ranks(b)];
  // The mean of n ranks is (n + 1) / 2, with ties too.
  const mean = (a.length + 1) / 2;
  let [dot, xx, yy] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    dot += (x[i]! - mean) * (y[i]! - mean);
    xx += (x[i]! - mean) ** 2;
    yy += (y[i]! - mean) ** 2;
  }
  if (xx === 0 || yy === 0) return xx === yy ? 1 : 0;
  return dot / Math.sqrt(xx * yy);
}

/** Ranks from 1, of equal values their mean. */
function ranks(values: readonly number[]): Float64Array {
  const order = [...values.keys()].sort((i, j) => values[i]! - values[j]!);
  const ranked = new Float64Array(values.length);
  for (let from = 0; from < order.length;) {
    let to = from;
    while (to + 1 < order.length && values[order[to + 1]!] === values[order[from]!]) to++;
    for (let k = from; k <= to; k++) ranked[order[k]!] = (from + to) / 2 + 1;
    from = to + 1;
  }
  return ranked;
}

/** One vector a sample. */
function embeddings(outputs: MetricInput['outputs'], { batch }: MetricInput, options: Options): Float64Array[] {
  const output = options.output ?? Object.keys(outputs).find((one) => isFloat(outputs[one]!));
  if (output === undefined) throw fault('no output is of floats');
  const tensor = outputNamed(outputs, output, name);
  const { dims } = tensor;
  const pool = options.pool ?? (dims.length === 3 ? 'mean' : 'none');
  if (!isFloat(tensor) || dims[0] !== batch.count || dims.length < 2 || (pool !== 'none' && dims.length !== 3))
    throw fault(`output "${output}" is ${tensor.type} [${dims.join(', ')}], and pool: ${pool} takes floats [samples, ${pool === 'none' ? '' : 'positions, '}width]`); // prettier-ignore
  const data = numbersOf(tensor);
  const length = data.length / batch.count;
  const vectors = Array.from({ length: batch.count }, (_, i) => data.subarray(i * length, (i + 1) * length));
  if (pool === 'none') return vectors.map((vector) => Float64Array.from(vector));
  const width = dims[2]!;
  if (pool === 'first') return vectors.map((vector) => Float64Array.from(vector.subarray(0, width)));
  const mask = maskOf(batch, dims[1]!, options.mask);
  return vectors.map((vector, i) => meanOf(vector, width, (p) => (mask === undefined ? 1 : Number(mask.data[i * dims[1]! + p])), batch.ids[i])); // prettier-ignore
}

/** The mean of the vectors at the positions that count. */
function meanOf(
  vectors: Float32Array | Float64Array,
  width: number,
  weight: (position: number) => number,
  id = '',
): Float64Array {
  // prettier-ignore
  const mean = new Float64Array(width);
  let total = 0;
  for (let p = 0; p * width < vectors.length; p++) {
    const share = weight(p);
    total += share;
    if (share !== 0) for (let c = 0; c < width; c++) mean[c]! += share * vectors[p * width + c]!;
  }
  if (total === 0) throw fault('the mask leaves no position of a sample', id);
  return mean.map((value) => value / total);
}

function maskOf(
  { feeds, count, size }: MetricInput['batch'],
  positions: number,
  asked: string | undefined,
): Tensor | undefined {
  // prettier-ignore
  const mask = feeds[asked ?? 'attention_mask'];
  if (mask === undefined) {
    if (asked === undefined) return undefined;
    throw fault(`the model has no input "${asked}"; it has ${Object.keys(feeds).join(', ')}`);
  }
  const [rows, columns, ...more] = mask.dims;
  if (rows !== undefined && rows >= Math.max(count, size) && columns === positions && more.length === 0 && !isFloat(mask)) return mask; // prettier-ignore
  throw fault(`the mask is ${mask.type} [${mask.dims.join(', ')}], and the output has ${positions} positions of ${count} samples`); // prettier-ignore
}

const fault = (message: string, at?: string): QtoolError =>
  new QtoolError('data', `metric ${name}: ${message}`, { at });
