import * as z from 'zod';
import type { Feeds } from '../../data/types.ts';
import { given, must } from '../../util/must.ts';
import type { Note, Pass, PassContext, PassResult, TrainedEpoch } from '../pass.ts';
import { floatsOf } from './carry.ts';
import { begin, type Begun } from './epoch_begin.ts';
import { epochGraph, type EpochGraph } from './epoch_graph.ts';
import { accuracy, divergence, goThrough, meanLoss, type Lap } from './epoch_steps.ts';
import type { Dressed } from './learn/dressed.ts';
import { quantizedModel } from './learn/quantized.ts';
import type { EpochLearner, EpochPlan, TrainingMemory } from './plan.ts';
import { settled, slotsOf } from './settle.ts';

/**
 * One epoch, as Distiller's scheduler has it: the pruners of the epoch find their masks, removers cut what is zero, then every sample of the
 * training set is gone through once, with masks, regularizers and the learning rate in force.
 */
export const trainingEpoch: Pass<EpochPlan> = {
  name: 'train/epoch',
  section: 'extensions',
  classes: ['TrainingEpoch'],
  summary:
    'one epoch of training, with the pruners, regularizers and learning rate of the schedule; made by `training:`',
  source: "Distiller's CompressionScheduler; the optimizers' and losses' own sources",
  options: z.custom<EpochPlan>(),
  async apply(model, plan, ctx) {
    const begun = await begin(model, plan, ctx);
    if (begun.failed !== undefined) return { model, changed: begun.changed, skipped: [], notes: begun.notes, failed: begun.failed }; // prettier-ignore
    const step = await epochGraph(begun.model, begun.memory, plan, ctx);
    const lap = await goThrough(step, begun, plan, ctx);
    const { memory, result, held } = await end(step, begun, lap, plan, ctx);
    ctx.memory.set('training', memory);
    const changed: Note[] = [...begun.changed, ...step.trainable.map((name) => ({ layer: name, text: memory.masks.has(name) ? 'trained, its zeros kept' : 'trained' })), ...(held?.changed ?? [])]; // prettier-ignore
    return {
      ...result,
      changed,
      skipped: [...begun.skipped, ...step.skipped, ...(held?.skipped ?? [])],
      notes: begun.notes,
    };
  },
};

/** What an epoch leaves behind: the model that is measured, and what the next one goes on with. */
async function end(step: EpochGraph, begun: Begun, lap: Lap, plan: EpochPlan, ctx: PassContext) {
  const { graph, optimizer, dress } = step;
  const { training, learner, epoch } = plan;
  const { lr, state, firstLoss, sums } = lap;
  const last = settled(begun.model, plan, lap.masks, { graph, state, average: optimizer.average });
  const lost = [...last.own.values()].some((data) => !data.every(Number.isFinite));
  const diverged = lap.diverged ?? (lost ? divergence(NaN, firstLoss ?? NaN, `behind the last step of epoch ${epoch}`, lr) : undefined); // prettier-ignore
  const stored = floatsOf(begun.model);
  const loss = meanLoss(sums);
  const memory: TrainingMemory = {
    slots: slotsOf(graph, state),
    masks: last.masks,
    step: lap.step,
    updates: lap.updates,
    weights: training.ema === undefined ? undefined : last.own,
    learned: dress && { unsigned: dress.unsigned, numbers: numbersOf(last.own, stored, lap.found) },
    masters: learner && last.model,
    lr,
    losses: [...begun.memory.losses, loss],
    firstLoss,
  };
  const right = accuracy(sums);
  const trained: TrainedEpoch = {
    epoch,
    loss,
    ...(right === undefined ? {} : { accuracy: right }),
    lr,
    steps: lap.minibatch,
    samples: sums.samples,
  };
  const failed = diverged === undefined ? {} : { failed: diverged };
  const whole =
    learner && dress && diverged === undefined ? await heldModel(last, memory, learner, dress, ctx) : undefined;
  const held = learner?.last === true ? whole : undefined;
  const result: Pick<PassResult, 'model' | 'trained' | 'failed' | 'twin' | 'held'> = { model: whole?.model ?? last.model, trained, ...failed, ...(held && { held: held.held, twin: held.twin }) }; // prettier-ignore
  return { memory, result, held };
}

/** What a quantizer keeps: all that is trained and not the model's own, and what it found when the epoch began. */
function numbersOf(own: ReadonlyMap<string, Float32Array>, stored: ReadonlyMap<string, unknown>, found: Feeds) {
  const trained = [...own].filter(([name]) => !stored.has(name));
  return new Map([...trained, ...Object.entries(found).map(([name, { data }]) => [name, data as Float32Array] as const)]); // prettier-ignore
}

/** The quantized model at the end of an epoch. */
function heldModel(
  { model, shown }: ReturnType<typeof settled>,
  { learned }: TrainingMemory,
  learner: EpochLearner,
  dress: Dressed,
  ctx: PassContext,
) {
  const numberOf = (name: string): Float32Array => shown.get(name) ?? must(given(learned, 'what was learned').numbers, name, 'the number'); // prettier-ignore
  return quantizedModel(model, learner, dress, (owner, name) => numberOf(dress.constant(owner, name)), ctx);
}
