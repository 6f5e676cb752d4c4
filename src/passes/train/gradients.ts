import { buildTraining, type Optimizer } from '../../autodiff/training_graph.ts';
import { unary } from '../../autodiff/writer.ts';
import { firstBatch } from '../../data/batch.ts';
import type { Batch } from '../../data/types.ts';
import { withOutputs } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { QtoolError } from '../../util/error.ts';
import { given, must } from '../../util/must.ts';
import type { PassContext } from '../pass.ts';
import type { TrainingOptions } from './options.ts';
import { outputsOf, prepareTraining, trainableBy } from './prepared.ts';
import { firstState, reported } from './step.ts';
import { taught } from './teach.ts';

/** Moves nothing: what it keeps of a step is the gradient. */
const gradientAlone: Optimizer = {
  slots: ['gradient'],
  scalars: [],
  update: (w, { parameter, gradient }) => ({ parameter: unary(w, 'Identity', parameter), slots: [gradient] }),
};

/** A loss below this is that of equal distributions, summed up in float32. */
const noLoss = 1e-6;

/**
 * Gradients of the training loss by weights, one batch after the other, on the first `samples` samples of the epoch as they are. Normalizations
 * use the statistics that the model has: with those of the batch the loss would not change with the size of a filter, and Σ w g would be 0.
 * Weights that no gradient reaches are not among them.
 * @throws QtoolError('data') without samples to train on, without labels and a teacher, and where the loss is 0.
 */
export async function* lossGradients(
  model: Model,
  names: readonly string[],
  samples: number,
  training: TrainingOptions,
  ctx: PassContext,
): AsyncGenerator<ReadonlyMap<string, Float32Array>> {
  const set = ctx.training;
  if (!set)
    throw new QtoolError('data', 'there are no samples to take gradients of the training loss on', {
      hint: 'give the data config a set `training:`',
    });
  const step = await gradientStep(model, names, set.batches(epochOf(training, ctx)), training, ctx);
  let [seen, most] = [0, 0];
  for await (const batch of set.batches(epochOf(training, ctx))) {
    ctx.signal.throwIfAborted();
    const { loss, gradients } = await step(batch);
    most = Math.max(most, loss);
    yield gradients;
    seen += batch.count;
    if (seen >= samples) break;
  }
  if (most > noLoss) return;
  throw new QtoolError('data', `the training loss is ${most.toPrecision(2)}: its gradients are rounding, and tell nothing of the weights`, {
    at: set.source,
    hint: "a model that gives its teacher's outputs has no gradient: give labels, or prune and train an epoch before",
  }); // prettier-ignore
}

const epochOf = ({ seed, batch_size: batchSize }: TrainingOptions, { clock }: PassContext) => ({ epoch: clock.epoch, seed, batchSize }); // prettier-ignore

async function gradientStep(
  model: Model,
  names: readonly string[],
  batches: AsyncIterable<Batch>,
  training: TrainingOptions,
  ctx: PassContext,
): Promise<
  (batch: Batch) => Promise<{ readonly loss: number; readonly gradients: ReadonlyMap<string, Float32Array> }>
> {
  const batch = await firstBatch(batches);
  const wanted = new Set(names);
  const shown = withOutputs(model, Object.keys(training.distillation?.hints ?? {}));
  const prepared = await prepareTraining(shown, batch.feeds, ctx, (name) => wanted.has(name));
  const outputs = outputsOf(prepared);
  const lesson = await taught(training, prepared.model, batch, outputs, ctx);
  const built = buildTraining(prepared.model, prepared.shapes, {
    trainable: trainableBy(prepared, lesson.loss, ctx.device).trainable,
    loss: lesson.loss,
    optimizer: gradientAlone,
    batchNorm: 'frozen',
    target: ctx.device,
  });
  const state = firstState(built);
  return async (one) => {
    const results = await ctx.compute(built.model, { ...one.feeds, ...(await lesson.feeds(one, outputs)), ...state }, built.target); // prettier-ignore
    const gradients = new Map(
      [...built.slots].map(([name, [slot = '']]) => {
        const { next } = must(built.state, slot, 'the gradient');
        return [name, given(results[next], name).data as Float32Array];
      }),
    );
    return { loss: reported(built, results, 'loss'), gradients };
  };
}
