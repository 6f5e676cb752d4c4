import type { Batch, Feeds } from '../data/types.ts';
import type { Fold } from '../numerics/fold.ts';

/**
 * What a metric sees of one batch: the model's outputs, the float model's on the same feeds, and the batch with its targets. What a batch
 * was padded with is cut off the outputs, and its `size` is its `count`.
 */
export interface MetricInput {
  readonly batch: Batch;
  readonly outputs: Feeds;
  readonly reference: Feeds;
  /** Names of what can be compared one by one, where that is not all outputs: see `comparable`. */
  readonly compared?: readonly string[] | undefined;
  /** There is no float model: `reference` are the outputs themselves. */
  readonly alone?: boolean | undefined;
}

/**
 * One measured value. `reference` is the float model's on the same samples; of a metric that measures how far the outputs are
 * from the float model's it is the perfect value (100 % agreement, ∞ dB). `drop` is how much worse than that (positive = worse),
 * `interval` the half width of the 95 % confidence interval of the value, `dropInterval` that of the paired one of the drop.
 */
export interface MetricResult {
  readonly name: string;
  readonly value: number;
  readonly unit: '%' | 'dB' | '';
  readonly higherIsBetter: boolean;
  readonly samples: number;
  readonly reference: number;
  readonly drop: number;
  readonly interval?: number;
  readonly dropInterval?: number;
  /** Per output value, for metrics that compare tensors (SQNR …). */
  readonly perOutput?: Readonly<Record<string, number>>;
}

/** A metric is a fold over batches. `needs` says what there must be: labels, a float model, or nothing but the outputs. */
export interface Metric<S = unknown> extends Fold<MetricInput, S, MetricResult> {
  readonly needs: 'labels' | 'reference' | 'outputs';
  /** The value of a model whose outputs are the float model's, where that is known before anything is measured. */
  readonly perfect?: number | undefined;
  readonly summary: string;
}

/** A result with how much worse it is than the reference. Two equal values differ by nothing, infinite ones too. */
export function compared(own: Omit<MetricResult, 'reference' | 'drop'>, reference: number): MetricResult {
  const worse = own.higherIsBetter ? reference - own.value : own.value - reference;
  return { ...own, reference, drop: own.value === reference ? 0 : worse };
}

/** How much worse than the reference as a finite number: the drop, or the noise beside the signal where dB have no bound. */
export function harmOf({ value, drop, reference, unit }: MetricResult): number {
  return unit === 'dB' && reference === Infinity ? 10 ** (-value / 10) : drop;
}
