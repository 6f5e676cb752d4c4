import type { Batch, Feeds } from '../../../src/data/types.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { floatData } from '../../../src/graph/tensor.ts';
import type { TrainingSamples } from '../../../src/passes/pass.ts';
import type { EpochPlan } from '../../../src/passes/train/plan.ts';
import { trainingSchema } from '../../../src/passes/train/options.ts';

/** Training samples that are these batches, in this order, every epoch; classes are `labels[i]`. */
export function lessons(batches: readonly Feeds[], labels?: readonly (readonly number[])[]): TrainingSamples {
  const size = Object.values(batches[0]!)[0]!.dims[0]!;
  return {
    samples: batches.length * size,
    labelled: labels !== undefined,
    source: 'a test',
    async *batches(): AsyncGenerator<Batch> {
      for (const [i, feeds] of batches.entries()) {
        const ids = Array.from({ length: size }, (_, k) => `${i}.${k}`);
        yield {
          ids,
          feeds,
          targets: ids.map((_, k) => labels && { label: Int32Array.of(labels[i]![k]!) }),
          count: size,
          size,
        };
      }
    },
  };
}

/** A plan of one epoch. */
export const epochOf = (training: object, more: Partial<EpochPlan> = {}): EpochPlan => ({
  training: trainingSchema.parse(training),
  epoch: 0,
  epochs: 1,
  policies: [],
  regularizers: [],
  rate: undefined,
  ...more,
});

/** A float tensor of a model. */
export const weightOf = (model: Model, name: string): Float32Array => floatData(initializers(model.graph).get(name)!);
