import type { ModelInput } from '../graph/query.ts';
import { toFloat16 } from '../numerics/float16.ts';
import type { Sample } from './types.ts';

/** A sample of which float32 data go to FLOAT16 inputs, rounded as Cast does: JavaScript before Float16Array has no such arrays to give. */
export function halfFed(sample: Sample, inputs: readonly ModelInput[]): Sample {
  const wide = inputs.filter(({ name, type }) => type === 'float16' && sample.feeds[name]?.type === 'float32');
  if (wide.length === 0) return sample;
  const feeds = { ...sample.feeds };
  for (const { name } of wide) {
    const { dims, data } = feeds[name]!;
    feeds[name] = { type: 'float16', dims, data: toFloat16(data as Float32Array) };
  }
  return { ...sample, feeds };
}
