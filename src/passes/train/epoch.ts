import * as z from 'zod';
import type { TrainingGraph } from '../../autodiff/training_graph.ts';
import type { Feeds } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';
import { given, must } from '../../util/must.ts';
import { foldConstants } from '../fold/constants.ts';
import { noteLine, type Note, type Pass, type PassContext, type PassResult, type TrainedEpoch } from '../pass.ts'; // prettier-ignore
import { withWeights as withTensors } from '../prune/masks.ts';
import { floatsOf, placesAfter, taken } from './carry.ts';
import { epochGraph, type EpochGraph } from './epoch_graph.ts';
import { howMasked, masksOf, type WeightMask } from './masks.ts';
import type { EpochPlan, EpochPolicy, TrainingMemory } from './plan.ts';

const nothing: TrainingMemory = { slots: new Map(), masks: new Map(), step: 0, updates: 0, weights: undefined, lr: undefined, losses: [], limit: undefined }; // prettier-ignore

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
    const old = (ctx.memory.get('training') as TrainingMemory | undefined) ?? withZeros(nothing, model);
    const own = old.weights === undefined ? model : withTensors(model, old.weights);
    const begun = await begin(own, old, plan, ctx);
    const step = await epochGraph(begun.model, begun.memory, plan, ctx);
    const trained = await goThrough(step, begun, plan, ctx);
    const { memory } = trained;
    ctx.memory.set('training', memory);
    const changed: Note[] = [...begun.changed, ...step.trainable.map((name) => ({ layer: name, text: memory.masks.has(name) ? 'trained, its zeros kept' : 'trained' }))]; // prettier-ignore
    return { ...trained.result, changed, skipped: [...begun.skipped, ...step.skipped], notes: begun.notes };
  },
};

/** Zeros that were there before training began stay zeros. */
function withZeros(memory: TrainingMemory, model: Model): TrainingMemory {
  const masks = new Map(memory.masks);
  for (const [name, { dims, data }] of floatsOf(model))
    if (dims.length > 1 && data.includes(0)) masks.set(name, { data: data.map((v) => (v === 0 ? 0 : 1)), how: {}, instance: '' }); // prettier-ignore
  return { ...memory, masks };
}

interface Begun {
  readonly model: Model;
  readonly memory: TrainingMemory;
  readonly changed: readonly Note[];
  readonly skipped: readonly Note[];
  readonly notes: readonly string[];
}

/** Runs the policies of the epoch, one after the other. */
async function begin(given: Model, old: TrainingMemory, plan: EpochPlan, ctx: PassContext): Promise<Begun> {
  let [model, memory] = [old.step === 0 ? (await foldConstants.apply(given, {}, ctx)).model : given, old];
  const [changed, skipped, notes]: [Note[], Note[], string[]] = [[], [], []];
  for (const policy of plan.policies) {
    const result = await applyPolicy(model, policy, ctx);
    changed.push(...result.changed);
    notes.push(...(result.notes ?? []).map((text) => `${policy.instance}: ${text}`), ...result.skipped.map((note) => `${policy.instance}: ${noteLine(note)}`)); // prettier-ignore
    ({ model, memory } = await afterPolicy(model, result.model, memory, policy, ctx));
  }
  return { model, memory, changed, skipped, notes };
}

function applyPolicy(model: Model, { instance, pass, options, clock }: EpochPolicy, ctx: PassContext) {
  const known = ctx.memory.get(instance) as Map<string, unknown> | undefined;
  const memory = new Map(known);
  ctx.memory.set(instance, memory);
  return pass.apply(model, options, { ...ctx, clock, memory });
}

/** The model and the masks after a policy: what it zeroed is masked; where it cut, slots and masks are cut alike. */
async function afterPolicy(before: Model, after: Model, old: TrainingMemory, policy: EpochPolicy, ctx: PassContext) {
  const places = await placesAfter(before, after, async (coded) => {
    const { options, pass, clock } = policy;
    return (await pass.apply(coded, options, { ...ctx, clock, memory: new Map(), progress: () => undefined })).model;
  });
  const [was, now] = [floatsOf(before), floatsOf(after)];
  const data = (all: typeof was) => new Map([...all].map(([name, one]) => [name, one.data]));
  const slots = new Map([...old.slots].map(([name, list]) => {
    const from = places.get(name);
    return [name, from ? list.map((slot) => taken(slot, from, 0)) : list];
  })); // prettier-ignore
  const masks = new Map(old.masks);
  for (const name of places.keys()) {
    const mask = masks.get(name);
    if (mask) masks.set(name, { ...mask, data: now.get(name)!.data.map((v) => (v === 0 ? 0 : 1)) });
  }
  const how = howMasked(policy.args);
  const found = policy.pass.section === 'pruners' ? masksOf(data(was), data(now), policy.instance, how, old.masks) : new Map<string, WeightMask>(); // prettier-ignore
  for (const [name, mask] of found) masks.set(name, mask);
  // A mask on the forward graph alone leaves the weights as they are.
  const model = how.forwardOnly && found.size > 0 ? before : after;
  return { model, memory: { ...old, slots, masks } };
}

/** The tensors that change from step to step, by graph input. */
function firstState({ graph }: EpochGraph, model: Model, memory: TrainingMemory): Feeds {
  const tensors = floatsOf(model);
  const state: Record<string, Feeds[string]> = {};
  for (const [name, input] of graph.held) {
    const { dims, data } = must(tensors, name, 'the weight');
    state[input] = { type: 'float32', dims, data };
    for (const [i, slot] of (graph.slots.get(name) ?? []).entries()) {
      const kept = memory.slots.get(name)?.[i];
      state[slot] = {
        type: 'float32',
        dims,
        data: kept?.length === data.length ? kept : new Float32Array(data.length),
      };
    }
  }
  return state;
}

/** All samples once. */
async function goThrough(step: EpochGraph, begun: Begun, plan: EpochPlan, ctx: PassContext) {
  const { graph, optimizer } = step;
  const { training, rate } = plan;
  const began = performance.now();
  let { masks, limit } = begun.memory;
  let state = firstState(step, begun.model, begun.memory);
  let [t, updates, minibatch, total, samples, correct, counted] = [
    begun.memory.step,
    begun.memory.updates,
    0,
    0,
    0,
    0,
    0,
  ];
  let lr = begun.memory.lr ?? optimizer.lr;
  const losses = begun.memory.losses;
  const rateAt = (share: number): number => {
    if (!rate) return lr;
    const fraction = rate.kind.everyStep?.(rate.options) === true ? share : 0;
    return rate.kind.at(rate.options, { base: optimizer.lr, epoch: rate.at + fraction, epochs: rate.of, steps, losses: losses.slice(rate.first) }); // prettier-ignore
  };
  const frequent = plan.policies.filter(({ args }) => (args.mini_batch_pruning_frequency ?? 0) > 0);
  const discards = new Set(plan.policies.filter(({ args }) => args.discard_masks_at_minibatch_end === true).map(({ instance }) => instance)); // prettier-ignore
  const late = new Set(plan.policies.filter(({ args }) => args.skip_first_minibatch === true).map(({ instance }) => instance)); // prettier-ignore
  const count = step.samples;
  const steps = Math.ceil(count / training.batch_size);
  let diverged: string | undefined;
  for await (const batch of step.batches()) {
    ctx.signal.throwIfAborted();
    const due = frequent.filter(({ args }) => minibatch > 0 && t % args.mini_batch_pruning_frequency! === 0);
    if (due.length > 0) masks = await masksAnew(step, begun.model, state, masks, due, ctx);
    lr = rateAt(samples / count);
    const numbers = new Map(Object.entries({ ...optimizer.scalars({ lr, step: minibatch + 1, steps, updates }), ...step.strengths })); // prettier-ignore
    t++;
    if (optimizer.moves(minibatch + 1, steps)) updates++;
    const scalars = Object.fromEntries([...graph.scalars].map(([name, input]) => [input, scalar(must(numbers, name, 'the scalar'))])); // prettier-ignore
    const open = (mask: WeightMask): boolean => minibatch === 0 && late.has(mask.instance);
    const fed = Object.fromEntries([...graph.masks].map(([name, input]) => [input, maskTensor(must(masks, name, 'the mask'), step.dims(name), open)])); // prettier-ignore
    const results = await ctx.compute(graph.model, { ...(await step.teach(batch)), ...state, ...fed, ...scalars });
    state = Object.fromEntries([...graph.state].map(([name, { next }]) => [name, given(results[next], next)]));
    const report = (name: string): number => Number(given(results[graph.reports.get(name) ?? ''], name).data[0]);
    const loss = report('loss');
    limit ??= Math.max(10 * loss, loss + 10);
    if (!Number.isFinite(loss) || loss > limit) {
      diverged = `training diverges: a loss of ${loss} at step ${t}, in epoch ${plan.epoch}; it began at ${(limit / 10).toPrecision(3)}: give a smaller lr than ${optimizer.lr}`;
      break;
    }
    if (discards.size > 0) masks = new Map([...masks].map(([name, mask]) => [name, discards.has(mask.instance) ? { ...mask, data: mask.data.map(() => 1) } : mask])); // prettier-ignore
    ({ state, masks } = step.threshold(state, masks));
    total += loss * batch.count;
    if (graph.reports.has('correct'))
      [correct, counted] = [
        correct + report('correct'),
        counted + (graph.reports.has('counted') ? report('counted') : batch.count),
      ];
    samples += batch.count;
    minibatch++;
    const speed = samples / ((performance.now() - began) / 1000);
    ctx.progress(samples / count, `epoch ${plan.epoch + 1} of ${plan.epochs}, loss ${(total / samples).toPrecision(3)},${counted > 0 ? ` ${((100 * correct) / counted).toFixed(2)} %,` : ''} lr ${lr.toPrecision(3)}, ${speed.toFixed(0)} samples/s`); // prettier-ignore
  }
  const loss = total / Math.max(1, samples);
  const settled = settle(plan, masks, state, graph);
  const memory: TrainingMemory = {
    slots: slotsOf(graph, settled.state),
    masks: settled.masks,
    step: t,
    updates,
    weights: training.ema === undefined ? undefined : heldOf(graph, settled.state),
    lr,
    losses: [...losses, loss],
    limit,
  };
  const trained: TrainedEpoch = {
    epoch: plan.epoch,
    loss,
    ...(counted > 0 ? { accuracy: (100 * correct) / counted } : {}),
    lr,
    steps: minibatch,
    samples,
  };
  const averages = training.ema === undefined ? settled.state : withAverages(graph, settled.state);
  const model = withWeights(begun.model, graph, averages);
  const result: Pick<PassResult, 'model' | 'trained' | 'failed'> = { model, trained, ...(diverged === undefined ? {} : { failed: diverged }) }; // prettier-ignore
  return { memory, result };
}

const scalar = (value: number): Feeds[string] => ({ type: 'float32', dims: [], data: Float32Array.of(value) });

function maskTensor(mask: WeightMask, dims: readonly number[], open: (mask: WeightMask) => boolean): Feeds[string] {
  return { type: 'float32', dims, data: open(mask) ? mask.data.map(() => 1) : mask.data };
}

const slotsOf = (graph: TrainingGraph, state: Feeds): Map<string, readonly Float32Array[]> =>
  new Map([...graph.slots].map(([name, slots]) => [name, slots.map((slot) => given(state[slot], slot).data as Float32Array)])); // prettier-ignore

/** The model with the weights and running statistics of a state. */
const withWeights = (model: Model, graph: TrainingGraph, state: Feeds): Model => withTensors(model, heldOf(graph, state)); // prettier-ignore

/** Parameters and running statistics of a state, by their name in the model. */
const heldOf = (graph: TrainingGraph, state: Feeds): Map<string, Float32Array> =>
  new Map([...graph.held].flatMap(([name, input]) => { const data = state[input]?.data as Float32Array | undefined; return data ? [[name, data]] : []; })); // prettier-ignore

/** A state with the running averages in place of the parameters. */
function withAverages(graph: TrainingGraph, state: Feeds): Feeds {
  const next: Record<string, Feeds[string]> = { ...state };
  for (const [name, slots] of graph.slots) {
    const average = slots.find((slot) => slot.includes('_average'));
    if (average !== undefined) next[must(graph.held, name, 'the parameter')] = given(state[average], average);
  }
  return next;
}

/** Masks that pruners find in the middle of an epoch. */
async function masksAnew(
  step: EpochGraph,
  model: Model,
  state: Feeds,
  old: TrainingMemory['masks'],
  due: readonly EpochPolicy[],
  ctx: PassContext,
) {
  const masks = new Map(old);
  const now = withWeights(model, step.graph, state);
  const data = (m: Model) => new Map([...floatsOf(m)].map(([name, one]) => [name, one.data]));
  for (const policy of due) {
    const result = await applyPolicy(now, policy, { ...ctx, progress: () => undefined });
    const found = masksOf(data(now), data(result.model), policy.instance, howMasked(policy.args), old);
    // The graph has inputs for the masks that it began with.
    for (const [name, mask] of found) if (step.graph.masks.has(name)) masks.set(name, mask);
  }
  return masks;
}

/** The end of an epoch: masks of ending policies go, or are put on the weights for good. */
function settle(plan: EpochPlan, masks: TrainingMemory['masks'], state: Feeds, graph: TrainingGraph) {
  const kept = new Map<string, WeightMask>();
  const next: Record<string, Feeds[string]> = { ...state };
  for (const [name, mask] of masks) {
    const policy = plan.policies.find(({ instance }) => instance === mask.instance);
    const ends = policy !== undefined && plan.epoch + policy.clock.frequency >= policy.clock.end;
    if (mask.how.forwardOnly === true && !ends) kept.set(name, mask);
    else if (mask.how.forwardOnly === true && policy?.args.keep_mask !== true) continue;
    else {
      const input = graph.held.get(name) ?? '';
      const tensor = given(next[input], name);
      next[input] = { ...tensor, data: (tensor.data as Float32Array).map((v, i) => v * mask.data[i]!) };
      kept.set(name, { ...mask, how: {} });
    }
  }
  return { masks: kept, state: next };
}
