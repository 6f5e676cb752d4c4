import type { Batch, Feeds, Tensor } from '../../src/data/types.ts';
import type { Metric, MetricInput, MetricResult } from '../../src/metrics/metric.ts';

export const float = (dims: readonly number[], ...data: number[]): Tensor => ({ type: 'float32', dims, data: Float32Array.from(data) }); // prettier-ignore

/** A batch of so many samples, of which `count` are real. */
export const batch = (size: number, count = size, expected?: readonly Feeds[]): Batch => ({
  ids: Array.from({ length: count }, (_, i) => `sample ${i}`),
  feeds: {},
  targets: Array.from({ length: count }, (_, i) => (expected ? { expected: expected[i]! } : undefined)),
  count,
  size,
});

export const run = <S>(metric: Metric<S>, ...inputs: MetricInput[]): MetricResult =>
  metric.finish(inputs.reduce((state, input) => metric.add(state, input), metric.start()));
