import type { Batch, Feeds } from '../data/types.ts';
import type { Fold } from '../numerics/fold.ts';

/** What a metric sees of one batch: the model's outputs, the float model's on the same feeds, and the batch with its targets. */
export interface MetricInput {
  readonly batch: Batch;
  readonly outputs: Feeds;
  readonly reference: Feeds;
}

/**
 * One measured value. `interval` is the half width of the 95 % confidence interval of the value, `drop` how much worse than
 * the float model on the same samples (positive = worse), `dropInterval` the half width of the paired 95 % interval of that drop.
 */
export interface MetricResult {
  readonly name: string;
  readonly value: number;
  readonly unit: '%' | 'dB' | '';
  readonly higherIsBetter: boolean;
  readonly samples: number;
  readonly interval?: number;
  readonly reference?: number;
  readonly drop?: number;
  readonly dropInterval?: number;
  /** Per output value, for metrics that compare tensors (SQNR …). */
  readonly perOutput?: Readonly<Record<string, number>>;
}

/** A metric is a fold over batches. `needs` says what the data must have. */
export interface Metric<S = unknown> extends Fold<MetricInput, S, MetricResult> {
  readonly needs: 'labels' | 'reference';
  readonly summary: string;
}
