import { buildTraining, type Masked, type Penalty, type TrainingGraph } from '../../autodiff/training_graph.ts';
import { firstBatch } from '../../data/batch.ts';
import type { Batch, Feeds } from '../../data/types.ts';
import { withOutputs } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { dimsOf, floatData } from '../../graph/tensor.ts';
import { initializers } from '../../graph/query.ts';
import { QtoolError } from '../../util/error.ts';
import { must } from '../../util/must.ts';
import type { Note, PassContext } from '../pass.ts';
import { hintsOf, wantedParameters } from './check.ts';
import { keptMasks, regimeFactors, regimeSites, thresholded, type RegimeSite } from './regimes.ts';
import { dressed, type Dressed } from './learn/dressed.ts';
import { foundFeeds } from './learn/found.ts';
import { learningPlaces } from './learn/places.ts';
import type { EpochPlan, Learned, TrainingMemory } from './plan.ts';
import { outputsOf, prepareTraining, trainableBy, type Prepared } from './prepared.ts';
import { optimizerOf, type Stepping } from './options.ts';
import { taught, type Taught } from './teach.ts';
import type { WeightMask } from './masks.ts';

/** The graph of an epoch's steps, and what it is fed. */
export interface EpochGraph {
  readonly graph: TrainingGraph;
  readonly trainable: readonly string[];
  /** The roundings of a quantizer that learns. */
  readonly dress: Dressed | undefined;
  readonly skipped: readonly Note[];
  /** Samples of an epoch. */
  readonly samples: number;
  readonly optimizer: Stepping;
  /** Strengths of the regularizers, by their scalar. */
  readonly strengths: Readonly<Record<string, number>>;
  batches(): AsyncIterable<Batch>;
  /** What the graph is fed of a batch: inputs, answers, and what the teacher says. */
  teach(batch: Batch): Promise<Feeds>;
  /** Numbers of a quantizer that are found outside of the graph, from the weights of a state; `before`: as they were fed last. */
  found(each: 'epoch' | 'step', state: Feeds, before: Feeds): Feeds;
  readonly dims: (parameter: string) => readonly number[];
  /** What weights are multiplied by in a step, counted through all epochs. */
  factors(state: Feeds, step: number): Feeds;
  /** Zeroes what regularizers with a threshold pull below it. */
  readonly threshold: (state: Feeds) => Feeds;
  /** Masks that regularizers leave behind at the end of the epoch. */
  keptMasks(state: Feeds): ReadonlyMap<string, WeightMask>;
}

interface Made {
  readonly key: string;
  /** The model that it was made for. */
  readonly model: Model;
  readonly prepared: Prepared;
  readonly trainable: readonly string[];
  readonly skipped: readonly Note[];
  readonly graph: TrainingGraph;
  readonly loss: Taught;
}

/** The training graph for a model; that of the epoch before, where nothing about its structure changed. */
export async function epochGraph(
  model: Model,
  memory: TrainingMemory,
  plan: EpochPlan,
  ctx: PassContext,
): Promise<EpochGraph> {
  const { training } = plan;
  const set = ctx.training;
  if (!set)
    throw new QtoolError('data', 'there are no samples to train on', {
      hint: 'give the data config a set `training:`',
    });
  if (training.batch_size > set.samples)
    throw new QtoolError('data', `a batch of ${training.batch_size} is larger than the set to train on, which has ${set.samples} samples`, { at: set.source, hint: 'give `training:` a smaller batch_size' }); // prettier-ignore
  const batches = (epoch: number): AsyncIterable<Batch> =>
    set.batches({ epoch, seed: training.seed, batchSize: training.batch_size, augment: training.augment });
  const optimizer = optimizerOf(training);
  const sites = regimeSites(model, plan.regularizers);
  const wanted = wantedParameters(model, training);
  // What is not trained needs a mask only where a policy lays one on and takes it off again.
  const acting = [...memory.masks].filter(([name, { how, instance }]) => wanted(name) || (how.forwardOnly === true && instance !== '')); // prettier-ignore
  const masked = new Map(acting.map(([name, { how }]) => [name, how]));
  const key = JSON.stringify([
    [...initializers(model.graph)].map(([name, tensor]) => [name, dimsOf(tensor)]),
    model.graph.node.map(({ op_type, output }) => [op_type, output]),
    [...masked],
    sites.map(({ weight, scalar, regime, drops }) => [weight, scalar, regime.group, drops !== undefined]),
    training.batch_size,
    plan.learner && [plan.learner.instance, plan.learner.options],
  ]);
  const known = ctx.memory.get('graph') as Made | undefined;
  const made = known?.key === key && sameConstants(known, model) ? known : await make(model, key, masked, sites, { plan, ctx, optimizer, wanted, batches: batches(plan.epoch), known: memory.learned }); // prettier-ignore
  ctx.memory.set('graph', made);
  const { prepared, graph, loss } = made;
  const tensors = initializers(prepared.model.graph);
  const outputs = outputsOf(prepared);
  return {
    graph,
    dress: prepared.dress,
    trainable: made.trainable.filter((name) => prepared.dress?.learned.includes(name) !== true),
    skipped: made.skipped,
    samples: set.samples,
    optimizer,
    strengths: Object.fromEntries(sites.map(({ scalar, regime }) => [scalar, regime.strength])),
    batches: () => batches(plan.epoch),
    teach: async (batch) => ({ ...batch.feeds, ...(await loss.feeds(batch, outputs)) }),
    dims: (name) => dimsOf(must(tensors, name, 'the weight')),
    found: (each, state, before) => found(made, tensors, plan, memory.learned, each, state, before),
    factors: (state, step) => regimeFactors(sites, graph, state, step),
    threshold: (state) => thresholded(sites, graph, state),
    keptMasks: (state) => keptMasks(sites, graph, state),
  };
}

/** Numbers of a quantizer that are found outside of the graph. @param tensors of the model that it was written from. */
function found(
  { graph, prepared: { dress } }: Made,
  tensors: ReturnType<typeof initializers>,
  { learner }: EpochPlan,
  known: Learned | undefined,
  each: 'epoch' | 'step',
  state: Feeds,
  before: Feeds,
): Feeds {
  if (!dress || !learner) return {};
  const now = (name: string): Float32Array => {
    const held = state[graph.held.get(name) ?? ''] ?? before[name];
    return (held?.data as Float32Array | undefined) ?? known?.numbers.get(name) ?? floatData(must(tensors, name, 'the number')); // prettier-ignore
  };
  // As the forward pass reads it: a mask on that alone leaves the weight as it is.
  const read = (name: string): Float32Array => {
    const mask = before[graph.masks.get(name) ?? '']?.data as Float32Array | undefined;
    return mask ? now(name).map((v, i) => (mask[i] === 0 ? 0 : v)) : now(name);
  };
  return foundFeeds(dress, each, { weightOf: read, kept: (owner, name) => now(dress.constant(owner, name)), done: learner.done }); // prettier-ignore
}

/** Whether what the graph holds as constants is still the same: all tensors that are not trained. */
function sameConstants({ model: old, graph }: Made, model: Model): boolean {
  const before = initializers(old.graph);
  return [...initializers(model.graph)].every(([name, tensor]) => graph.held.has(name) || before.get(name) === tensor);
}

async function make(
  model: Model,
  key: string,
  masked: ReadonlyMap<string, Masked>,
  sites: readonly RegimeSite[],
  { plan, ctx, optimizer, wanted, batches, known }: { readonly plan: EpochPlan; readonly ctx: PassContext; readonly optimizer: Stepping; readonly wanted: (name: string) => boolean; readonly batches: AsyncIterable<Batch>; readonly known: Learned | undefined }, // prettier-ignore
): Promise<Made> {
  const { training, learner } = plan;
  const batch = await firstBatch(batches);
  const hints = hintsOf(model, training);
  const shown = withOutputs(model, hints);
  const places = learner && (await learningPlaces(model, learner, ctx));
  const prepared = await prepareTraining(shown, batch.feeds, ctx, wanted, learner && places && ((plain, shapes) => dressed(plain, shapes, batch.feeds, { learner, places, known }, ctx))); // prettier-ignore
  const loss = await taught(training, prepared.model, batch, outputsOf(prepared), ctx);
  const { trainable, skipped } = trainableBy(prepared, loss.loss, ctx.device);
  const trained = new Set(trainable);
  const penalties = new Map<string, Penalty[]>();
  for (const { weight, scalar, write, drops } of sites)
    if (trained.has(weight) && !drops)
      penalties.set(weight, [...(penalties.get(weight) ?? []), { strength: scalar, write }]);
  const graph = buildTraining(prepared.model, prepared.shapes, {
    trainable,
    loss: loss.loss,
    optimizer: optimizer.optimizer,
    masks: new Map([...masked].filter(([name, { forwardOnly }]) => trained.has(name) || forwardOnly === true)),
    penalties,
    factors: new Set(sites.filter(({ weight, drops }) => drops && trained.has(weight)).map(({ weight }) => weight)),
    clipNorm: training.clip_norm,
    batchNorm: training.batchnorm,
    surrogates: prepared.dress?.surrogates,
    tracked: prepared.dress?.tracked,
    fed: new Set(prepared.dress?.found.flatMap(({ constants }) => [...constants.values()].map(({ name }) => name))),
    target: ctx.device,
  });
  return { key, model, prepared, trainable, skipped, graph, loss };
}
