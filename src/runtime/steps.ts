import { stepsOf } from '../data/steps.ts';
import type { Batch, Dataset, Feedback, Feeds, Sample } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import type { ModelInput } from '../graph/query.ts';
import { QtoolError } from '../util/error.ts';
import { openSession, type SessionOptions } from './session.ts';

/**
 * Sequences as samples of one step each: in the first the states are zeros, in each later one what `model` made of the step before. Who measures
 * another model puts its own states in their place (`fedBack`). `limit` counts sequences.
 */
export function steppedDataset(
  dataset: Dataset,
  model: Model,
  inputs: readonly ModelInput[],
  feedback: readonly Feedback[],
  options: SessionOptions,
): Dataset {
  const back = Object.fromEntries(feedback.map(({ input, output }) => [input, output]));
  const start = Object.fromEntries(feedback.map((one) => [one.input, one.start]));
  return {
    info: { ...dataset.info, notes: [...dataset.info.notes, 'a sample is a sequence of steps, the states of which are fed back'] }, // prettier-ignore
    async *samples(limit) {
      const session = await openSession(model, options);
      try {
        for await (const sample of dataset.samples(limit)) {
          let state: Feeds = start;
          const steps = stepsOf(sample, inputs);
          for (const [i, step] of steps.entries()) {
            const feeds = { ...step.feeds, ...state };
            yield { ...step, id: `${sample.id} step ${i}`, feeds, step: { first: i === 0, back } } satisfies Sample;
            if (i + 1 < steps.length)
              state = statesOf(await session.run(feeds, [...new Set(Object.values(back))]), back);
          }
        }
      } finally {
        await session.close();
      }
    },
  };
}

/** What a batch feeds to a model that gave `before` for the step before: its own states where the batch is a later step of a sequence. */
export function fedBack({ feeds, step }: Batch, before: Feeds | undefined): Feeds {
  if (step === undefined || step.first || before === undefined) return feeds;
  return { ...feeds, ...statesOf(before, step.back) };
}

function statesOf(outputs: Feeds, back: Readonly<Record<string, string>>): Feeds {
  const states = Object.entries(back).map(([input, output]) => {
    const state = outputs[output];
    if (state === undefined) throw new QtoolError('data', `the model has no output "${output}" to feed back into "${input}"`); // prettier-ignore
    return [input, state] as const;
  });
  return Object.fromEntries(states);
}
