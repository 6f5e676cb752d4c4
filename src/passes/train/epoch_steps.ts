import type { Batch, Feeds } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';
import { QtoolError } from '../../util/error.ts';
import { must } from '../../util/must.ts';
import type { PassContext } from '../pass.ts';
import { floatsOf } from './carry.ts';
import type { Begun } from './epoch_begin.ts';
import type { EpochGraph } from './epoch_graph.ts';
import type { EpochPlan, TrainingMemory } from './plan.ts';
import { isLate, masksWithin } from './policies.ts';
import { float, scalarFeeds, steps, type Step } from './step.ts';

/** What going through the samples once came to. */
export interface Lap {
  readonly state: Feeds;
  readonly masks: TrainingMemory['masks'];
  /** Steps of all epochs, and those of them that moved weights. */
  readonly step: number;
  readonly updates: number;
  /** Steps of this one. */
  readonly minibatch: number;
  /** The last learning rate. */
  readonly lr: number;
  readonly firstLoss: number | undefined;
  readonly sums: Sums;
  /** Numbers of a quantizer that were found when the epoch began. */
  readonly found: Feeds;
  /** Why it was not gone on with. */
  readonly diverged: string | undefined;
}

/** What is added up over the steps of an epoch. */
export interface Sums {
  /** Losses, each times what its batch weighs, and those weights. */
  readonly total: number;
  readonly weight: number;
  readonly samples: number;
  /** Positions with an answer, and those that were right; undefined where the loss has no answers that are right or wrong. */
  readonly counted: number;
  readonly correct: number | undefined;
}

/** The mean loss. */
export const meanLoss = ({ total, weight }: Sums): number => total / Math.max(1, weight);

/** % of the positions that were right. */
export const accuracy = ({ correct, counted }: Sums): number | undefined =>
  correct !== undefined && counted > 0 ? (100 * correct) / counted : undefined;

/** All samples once. @throws QtoolError('data') where none of them has a label that counts. */
export async function goThrough(step: EpochGraph, { model, memory }: Begun, plan: EpochPlan, ctx: PassContext) {
  const { graph, optimizer } = step;
  const count = Math.ceil(step.samples / plan.training.batch_size);
  const rateAt = rateOf(step, plan, memory, count);
  const discards = instancesOf(plan, ({ args }) => args.discard_masks_at_minibatch_end === true);
  const late = instancesOf(plan, (policy) => isLate(policy, plan));
  const began = performance.now();
  const first = resumedState(step, model, memory);
  let lap: Lap = {
    state: first,
    found: step.found('epoch', first, {}),
    masks: memory.masks,
    step: memory.step,
    updates: memory.updates,
    minibatch: 0,
    lr: memory.lr ?? optimizer.lr,
    firstLoss: memory.firstLoss,
    sums: { total: 0, weight: 0, samples: 0, counted: 0, correct: graph.reports.has('correct') ? 0 : undefined },
    diverged: undefined,
  };
  const feeds = async (batch: Batch, state: Feeds): Promise<Feeds> => {
    const { minibatch, step: t, updates, sums } = lap;
    const masks = await masksWithin(step, model, { ...lap, state }, plan, ctx);
    const lr = rateAt(sums.samples / step.samples, lap.lr);
    const scalars = { ...optimizer.scalars({ lr, step: minibatch + 1, steps: count, updates }), ...step.strengths };
    const moved = optimizer.moves(minibatch + 1, count) ? 1 : 0;
    lap = { ...lap, masks, lr, step: t + 1, updates: updates + moved };
    const open = (instance: string): boolean => minibatch === 0 && late.has(instance);
    const masked = maskFeeds(step, masks, open);
    return {
      ...(await step.teach(batch)),
      ...masked,
      ...lap.found,
      ...step.found('step', state, { ...lap.found, ...masked }),
      ...step.factors(state, t),
      ...scalarFeeds(graph, scalars),
    };
  };
  const course = { graph, state: lap.state, batches: step.batches(), feeds, behind: step.threshold };
  for await (const taken of steps(course, ctx)) {
    const firstLoss = lap.firstLoss ?? taken.loss;
    const diverged = divergence(taken.loss, firstLoss, `at step ${lap.step}, in epoch ${plan.epoch}`, lap.lr);
    lap = { ...lap, state: taken.state, firstLoss, diverged };
    if (diverged !== undefined) break;
    const masks = discards.size === 0 ? lap.masks : new Map([...lap.masks].map(([name, mask]) => [name, discards.has(mask.instance) ? { ...mask, data: mask.data.map(() => 1) } : mask])); // prettier-ignore
    lap = { ...lap, masks, sums: added(lap.sums, taken, step, plan), minibatch: lap.minibatch + 1 };
    ctx.progress(lap.sums.samples / step.samples, progressText(lap, plan, performance.now() - began));
  }
  const { counted, samples } = lap.sums;
  if (graph.reports.has('counted') && counted === 0 && !hasTeacher(plan.training) && lap.diverged === undefined)
    throw new QtoolError('data', `none of the ${samples} samples to train on has a label that counts`, { at: ctx.training?.source, hint: 'a label of −1 does not count' }); // prettier-ignore
  return { ...lap, masks: new Map([...lap.masks, ...step.keptMasks(lap.state)]) };
}

const instancesOf = ({ policies }: EpochPlan, which: (policy: EpochPlan['policies'][number]) => boolean): Set<string> =>
  new Set(policies.filter(which).map(({ instance }) => instance));

/** The learning rate at a share of the epoch; `last`: that of the step before. */
const rateOf =
  ({ optimizer }: EpochGraph, { rate }: EpochPlan, { losses }: TrainingMemory, count: number) =>
  (share: number, last: number): number => {
    if (!rate) return last;
    const fraction = rate.kind.everyStep?.(rate.options) === true ? share : 0;
    return rate.kind.at(rate.options, { base: optimizer.lr, epoch: rate.at + fraction, epochs: rate.of, steps: count, losses: losses.slice(rate.first) }); // prettier-ignore
  };

/** The tensors that change from step to step, by graph input, as the epoch before left them. */
function resumedState({ graph }: EpochGraph, model: Model, memory: TrainingMemory): Feeds {
  const tensors = floatsOf(model);
  const state: Record<string, Feeds[string]> = {};
  for (const [name, input] of graph.held) {
    const { dims, first } = must(graph.state, input, 'the state of');
    const data = tensors.get(name)?.data ?? memory.learned?.numbers.get(name) ?? first;
    state[input] = float(data, dims);
    for (const [i, slot] of (graph.slots.get(name) ?? []).entries()) {
      const kept = memory.slots.get(name)?.[i];
      state[slot] = float(kept?.length === data.length ? kept : new Float32Array(data.length), dims);
    }
  }
  return state;
}

/** Masks by the graph's inputs; those of instances that are `open` let everything through. */
function maskFeeds({ graph, dims }: EpochGraph, masks: Lap['masks'], open: (instance: string) => boolean): Feeds {
  return Object.fromEntries(
    [...graph.masks].map(([name, input]) => {
      const { data, instance } = must(masks, name, 'the mask');
      return [input, float(open(instance) ? data.map(() => 1) : data, dims(name))];
    }),
  );
}

/** The sums with a step more. A batch weighs as many samples as its loss is a mean of. */
function added(sums: Sums, { batch, loss, report }: Step<Batch>, { graph }: EpochGraph, { training }: EpochPlan): Sums {
  const rows = graph.reports.has('counted') ? report('counted') : batch.count;
  const share = hasTeacher(training) ? batch.count : rows;
  return {
    total: sums.total + loss * share,
    weight: sums.weight + share,
    samples: sums.samples + batch.count,
    counted: sums.counted + rows,
    correct: sums.correct === undefined ? undefined : sums.correct + report('correct'),
  };
}

function progressText({ sums, lr }: Lap, { epoch, epochs }: EpochPlan, milliseconds: number): string {
  const right = accuracy(sums);
  const speed = sums.samples / (milliseconds / 1000);
  return `epoch ${epoch + 1} of ${epochs}, loss ${meanLoss(sums).toPrecision(3)},${right === undefined ? '' : ` ${right.toFixed(2)} %,`} lr ${lr.toPrecision(3)}, ${speed.toFixed(0)} samples/s`;
}

const hasTeacher = ({ distillation: d }: EpochPlan['training']): boolean =>
  d !== undefined && (d.distill_wt > 0 || d.hints !== undefined);

/** What is wrong with a loss; undefined where nothing is. */
export function divergence(loss: number, first: number, where: string, lr: number): string | undefined {
  if (!Number.isFinite(first)) return `the loss is ${first} ${where}: the samples or the model itself hold what is no number, or far too large a one`; // prettier-ignore
  if (Number.isFinite(loss) && loss <= Math.max(10 * first, first + 10)) return undefined;
  const what = Number.isNaN(loss) ? 'weights or a loss that are no numbers' : `a loss of ${loss.toPrecision(3)}`;
  return `training diverges: ${what} ${where}; it began at a loss of ${first.toPrecision(3)}: give a smaller lr than ${Number(lr.toPrecision(3))}`;
}
