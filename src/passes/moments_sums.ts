import type { Feeds, Tensor } from '../data/types.ts';
import { linearSizes, readRows, type Linear } from './rows.ts';

/**
 * What a layer y = W x does to its data, as sums over all columns x of its im2col matrix: x has the order of the weight's own
 * elements [in/group, kh, kw] (or the K of a Gemm or MatMul), y is what the layer ought to give. With them any quadratic error of the
 * layer's output is a small matrix product: E‖y − W̃x‖² needs no data any more.
 *
 * The sums do not depend on how the samples were batched. Products are float32, of deviations from the means of the first sample, and
 * summed over a bounded number of columns; all else is double, so that a variance does not drown under a large mean.
 */
export interface Moments {
  readonly groups: number;
  /** Outputs of one group. */
  readonly rows: number;
  /** K: weights of one output. */
  readonly size: number;
  readonly count: number;
  /** Σ x xᵀ, [groups, K, K]. */
  readonly gram: Float64Array;
  /** Σ x, [groups, K]. */
  readonly sum: Float64Array;
  /** Σ y xᵀ, [outputs, K], Σ y and Σ y², [outputs]; empty where no target was asked for. Σ y² is of given targets only. */
  readonly target: Float64Array;
  readonly targetSum: Float64Array;
  readonly power: Float64Array;
  /** The sums over all positions, where only some are `count`ed: the mean error that is left is a small difference. */
  readonly all: Pick<Moments, 'count' | 'sum' | 'targetSum'>;
}

/** What is summed up. */
export interface MomentOptions {
  /** What the layer ought to give: values that are brought, or these weights times the float input. */
  readonly target?: 'given' | { readonly weights: Float32Array } | undefined;
  /** false: sums only; `gram` and `target` stay empty. */
  readonly products?: boolean | undefined;
  /** How many positions of an image are enough: neighbours say much the same. All if not given. */
  readonly positions?: number | undefined;
}

/** The running sums of one layer: of deviations from a shift, until they are finished. */
export interface Sums {
  /** The shifts as inputs of the graph; 0 before `start`. */
  shift(): Feeds;
  /** Whether sums of the first sample are still wanted, for its means. */
  readonly started: boolean;
  /** Takes the means of what is summed here as the shift from now on. */
  start(got: Feeds): void;
  /** Adds the sums of samples that have so many positions altogether. */
  add(got: Feeds, positions: number): void;
  finish(): Moments;
}

/** Sums of no column yet. */
export function openSums(layer: Linear, o: MomentOptions): Sums {
  const { groups, rows, size } = linearSizes(layer);
  const products = o.products ?? true;
  const outputs = o.target ? groups * rows : 0;
  const of = (length: number): Float64Array => new Float64Array(length);
  const [gram, target] = products ? [of(groups * size * size), of(outputs * size)] : [of(0), of(0)];
  const [sum, targetSum, power] = [of(groups * size), of(outputs), of(o.target === 'given' ? outputs : 0)];
  const all = { hat: of(groups * size), float: of(groups * size), extra: of(outputs) };
  const [c, d] = [new Float32Array(groups * size), new Float32Array(outputs)];
  let [count, positions, started, whole] = [0, 0, !products, false];

  return {
    get started() {
      return started;
    },
    shift: () => (products ? { c: column(c, groups), ...(o.target && { d: column(d, groups) }) } : {}),
    start(got) {
      const first = numberOf(got.count);
      c.set(floatsOf(got.sum).map((s) => s / first));
      if (o.target) d.set(floatsOf(got.targetSum).map((s) => s / first));
      started = true;
    },
    add(got, more) {
      for (const [into, name] of [
        [gram, 'gram'],
        [sum, 'sum'],
        [target, 'target'],
        [targetSum, 'targetSum'],
        [power, 'power'],
        [all.hat, 'all_hat_sum'],
        [all.float, got.all_float_sum ? 'all_float_sum' : 'all_hat_sum'],
        [all.extra, 'all_extra_sum'],
      ] as const)
        if (got[name]) addTo(into, floatsOf(got[name]));
      whole ||= got.all_hat_sum === undefined;
      count += got.count ? numberOf(got.count) : 0;
      positions += more;
    },
    finish() {
      if (products) unshift();
      const sums = { count, sum, targetSum };
      const over = whole || positions === 0 ? sums : { count: positions, sum: all.hat, targetSum: productSum() };
      // What was not asked for in products is there as sums.
      const { count: counted, sum: hat, targetSum: y } = products ? sums : over;
      return { groups, rows, size, count: counted, gram, sum: hat, target, targetSum: y, power, all: over };
    },
  };

  /** Σ (x + c)(x + c)ᵀ = Σ x xᵀ + c Σ xᵀ + Σ x cᵀ + n c cᵀ, and so on. */
  function unshift(): void {
    for (let at = 0, i = 0; i < groups * size; i++) {
      const first = Math.floor(i / size) * size;
      const [ci, si] = [c[i]!, sum[i]!];
      for (let j = first; j < first + size; j++, at++)
        gram[at] = gram[at]! + ci * (sum[j]! + count * c[j]!) + si * c[j]!;
    }
    for (let at = 0, r = 0; r < outputs; r++) {
      const first = Math.floor(r / rows) * size;
      const [dr, tr] = [d[r]!, targetSum[r]!];
      for (let j = first; j < first + size; j++, at++)
        target[at] = target[at]! + dr * (sum[j]! + count * c[j]!) + tr * c[j]!;
      if (power.length > 0) power[r]! += dr * (2 * tr + count * dr);
    }
    for (let i = 0; i < sum.length; i++) sum[i]! += count * c[i]!;
    for (let r = 0; r < outputs; r++) targetSum[r]! += count * d[r]!;
  }

  /** Σ y over all positions: W Σ x and what was added. */
  function productSum(): Float64Array {
    if (typeof o.target !== 'object') return of(0);
    const weights = readRows(layer, o.target.weights);
    return all.extra.map((extra, r) => {
      const first = Math.floor(r / rows) * size;
      let y = extra;
      for (let k = 0; k < size; k++) y += weights[r * size + k]! * all.float[first + k]!;
      return y;
    });
  }
}

const column = (data: Float32Array, groups: number): Tensor => ({
  type: 'float32',
  dims: [groups, data.length / groups, 1],
  data,
});

const numberOf = (tensor: Tensor | undefined): number => Number((tensor?.data as BigInt64Array)[0]);
const floatsOf = (tensor: Tensor | undefined): Float32Array | Float64Array => tensor?.data as Float32Array;

function addTo(into: Float64Array, data: ArrayLike<number>): void {
  for (let i = 0; i < into.length; i++) into[i]! += data[i]!;
}
