import type { OpenOptions } from '../data/open.ts';
import { describeValue } from '../graph/query.ts';
import type { Model } from '../graph/model.ts';

/** The options of `withData`, as commander hands them over. */
export interface DataOptions {
  readonly dataRoot?: string;
  readonly limit?: number;
  readonly batchSize?: number;
  readonly seed?: number;
  readonly threads?: number;
  readonly samples?: number;
}

/** What the data layer is asked for. */
export function dataOptions(options: DataOptions, model: Model, part: OpenOptions['part'] = 'both'): OpenOptions {
  return {
    root: options.dataRoot,
    calibrationSamples: options.samples,
    validationSamples: options.limit,
    seed: options.seed,
    classes: classCount(model),
    part,
  };
}

/** How many classes a classifier tells apart: the last dimension of its only output, where the file says it. */
function classCount(model: Model): number | undefined {
  const [output, ...others] = model.graph.output;
  if (!output || others.length > 0) return undefined;
  const last = describeValue(output).dims?.at(-1);
  return typeof last === 'number' && last > 1 ? last : undefined;
}
