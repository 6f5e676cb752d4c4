import * as z from 'zod';
import type { Feeds } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';
import { QtoolError } from '../../util/error.ts';
import { given, must } from '../../util/must.ts';
import { foldBatchNorm } from '../fold/batchnorm.ts';
import { foldConstants } from '../fold/constants.ts';
import { foldPasses } from '../fold/prepare.ts';
import {
  noteLine,
  type Lesson,
  type Note,
  type Pass,
  type PassContext,
  type PassResult,
  type TrainedEpoch,
} from '../pass.ts';
import { withWeights } from '../prune/masks.ts';
import { floatsOf, placesAfter, taken } from './carry.ts';
import { epochGraph, type EpochGraph } from './epoch_graph.ts';
import { lossGradients } from './gradients.ts';
import { rankedFolded } from './folded_ranking.ts';
import type { Dressed } from './learn/dressed.ts';
import { quantizedModel } from './learn/quantized.ts';
import { howMasked, masksOf, type WeightMask } from './masks.ts';
import type { EpochLearner, EpochPlan, EpochPolicy, TrainingMemory } from './plan.ts';
import { settled, slotsOf, withState } from './settle.ts';
import { float, nextState, nonZeros, reported, scalarFeeds } from './step.ts';

const nothing: TrainingMemory = { slots: new Map(), masks: new Map(), step: 0, updates: 0, weights: undefined, lr: undefined, losses: [], learned: undefined, masters: undefined, firstLoss: undefined }; // prettier-ignore

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
    const from = old.masters ?? model;
    const own = old.weights === undefined ? from : withWeights(from, old.weights);
    const begun = await begin(own, old, plan, ctx);
    const step = await epochGraph(begun.model, begun.memory, plan, ctx);
    const trained = await goThrough(step, begun, plan, ctx);
    const { memory, held } = trained;
    ctx.memory.set('training', memory);
    const changed: Note[] = [...begun.changed, ...step.trainable.map((name) => ({ layer: name, text: memory.masks.has(name) ? 'trained, its zeros kept' : 'trained' })), ...(held?.changed ?? [])]; // prettier-ignore
    return {
      ...trained.result,
      changed,
      skipped: [...begun.skipped, ...step.skipped, ...(held?.skipped ?? [])],
      notes: begun.notes,
    };
  },
};

/** Zeros that were there before training began stay zeros. */
function withZeros(memory: TrainingMemory, model: Model): TrainingMemory {
  const masks = new Map(memory.masks);
  for (const [name, { dims, data }] of floatsOf(model))
    if (dims.length > 1 && data.includes(0)) masks.set(name, { data: nonZeros(data), how: {}, instance: '' }); // prettier-ignore
  return { ...memory, masks };
}

interface Begun {
  readonly model: Model;
  readonly memory: TrainingMemory;
  readonly changed: readonly Note[];
  readonly skipped: readonly Note[];
  readonly notes: readonly string[];
}

/** The model as quantizers want it, but with its batch norms. */
async function plainly(model: Model, ctx: PassContext): Promise<Model> {
  let now = model;
  for (const pass of foldPasses) if (pass !== foldBatchNorm) now = (await pass.apply(now, {}, ctx)).model;
  return now;
}

/** Runs the policies of the epoch, one after the other. */
async function begin(handed: Model, old: TrainingMemory, plan: EpochPlan, ctx: PassContext): Promise<Begun> {
  let [model, memory] = [old.step === 0 ? (await foldConstants.apply(handed, {}, ctx)).model : handed, old];
  if (plan.learner && !old.learned) model = await plainly(model, ctx);
  const [changed, skipped, notes]: [Note[], Note[], string[]] = [[], [], []];
  for (const policy of plan.policies) {
    const result = await applyPolicy(model, policy, { ...ctx, lesson: lessonOf(plan, policy, memory.step, ctx) });
    changed.push(...result.changed);
    notes.push(...(result.notes ?? []).map((text) => `${policy.instance}: ${text}`), ...result.skipped.map((note) => `${policy.instance}: ${noteLine(note)}`)); // prettier-ignore
    ({ model, memory } = await afterPolicy(model, result, memory, policy, { plan, ctx }));
  }
  return { model, memory, changed, skipped, notes };
}

function applyPolicy(model: Model, { instance, pass, options, clock, args }: EpochPolicy, ctx: PassContext) {
  // Beside what training itself keeps there, whatever instances are called.
  const key = `policy ${instance}`;
  const memory = new Map(ctx.memory.get(key) as Map<string, unknown> | undefined);
  ctx.memory.set(key, memory);
  const prune = (one: Model): Promise<PassResult> => pass.apply(one, options, { ...ctx, clock, memory });
  return args.fold_batchnorm === true && byWeight.test(pass.name) ? rankedFolded(model, prune) : prune(model);
}

/** Pruners that choose by the weights alone, which is what folding changes. */
const byWeight = /^prune\/(magnitude|level|sensitivity|splicing|agp|baidu_rnn|n_m|structure\/l[12]_ranked(_agp)?)$/;

/** What a policy may ask while the model is trained. */
const lessonOf = (plan: EpochPlan, { args }: EpochPolicy, step: number, ctx: PassContext): Lesson => ({
  step,
  passing: args.mask_on_forward_only === true,
  gradients: (model, names, samples) => lossGradients(model, names, samples, plan.training, ctx),
});

/** The model and the masks after a policy: what it zeroed is masked; where it cut, slots and masks are cut alike. */
async function afterPolicy(
  before: Model,
  { model: after, masks: told }: PassResult,
  old: TrainingMemory,
  policy: EpochPolicy,
  { plan, ctx }: { readonly plan: EpochPlan; readonly ctx: PassContext },
) {
  // Before the first step nothing is kept by place.
  const kept = old.slots.size > 0 || old.masks.size > 0;
  const places = !kept
    ? new Map<string, Int32Array>()
    : await placesAfter(before, after, async (coded) => {
        const { options, pass, clock } = policy;
        return (await pass.apply(coded, options, { ...ctx, clock, memory: new Map(), progress: () => undefined }))
          .model;
      });
  const [was, now] = [floatsOf(before), floatsOf(after)];
  const slots = new Map([...old.slots].map(([name, list]) => {
    const from = places.get(name);
    return [name, from ? list.map((slot) => taken(slot, from, 0)) : list];
  })); // prettier-ignore
  const masks = new Map([...old.masks].filter(([name]) => now.has(name)));
  for (const [name, from] of places) {
    const mask = masks.get(name);
    const cut = mask && taken(mask.data, from, 1);
    if (cut)
      masks.set(name, { ...mask, data: must(now, name, 'the weight').data.map((v, i) => (v === 0 ? 0 : cut[i]!)) });
  }
  const how = howMasked(policy.args);
  const found = policy.pass.section === 'pruners' ? masksOf(dataOf(was), dataOf(now), policy.instance, how, old.masks, told) : new Map<string, WeightMask>(); // prettier-ignore
  for (const [name, mask] of found) masks.set(name, mask);
  // What is masked in the middle of the epoch alone needs an input for its mask, too.
  if (policy.pass.section === 'pruners' && frequencyOf(policy) > 0)
    for (const [name, { dims, data: own }] of now)
      if (dims.length > 1 && !masks.has(name))
        masks.set(name, { data: own.map(() => 1), how, instance: policy.instance });
  // A mask on the forward graph alone leaves the weights as they are, and one that does not act yet does, too.
  const model = (how.forwardOnly || isLate(policy, plan)) && found.size > 0 ? before : after;
  return { model, memory: { ...old, slots, masks } };
}

const dataOf = (floats: ReturnType<typeof floatsOf>) => new Map([...floats].map(([name, { data }]) => [name, data]));

const frequencyOf = ({ args }: EpochPolicy): number => args.mini_batch_pruning_frequency ?? 0;

/** Whether a policy begins behind the first step of this epoch. */
const isLate = ({ args, clock }: EpochPolicy, { epoch }: EpochPlan): boolean =>
  args.skip_first_minibatch === true && epoch === clock.start;

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

/** All samples once. */
async function goThrough(step: EpochGraph, begun: Begun, plan: EpochPlan, ctx: PassContext) {
  const { graph, optimizer } = step;
  const { training, rate } = plan;
  const began = performance.now();
  let { masks, firstLoss } = begun.memory;
  let state = resumedState(step, begun.model, begun.memory);
  let [t, updates, minibatch, total, weight, samples, correct, counted] = [
    begun.memory.step,
    begun.memory.updates,
    0,
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
  const discards = new Set(plan.policies.filter(({ args }) => args.discard_masks_at_minibatch_end === true).map(({ instance }) => instance)); // prettier-ignore
  const late = new Set(plan.policies.filter((policy) => isLate(policy, plan)).map(({ instance }) => instance));
  const count = step.samples;
  const steps = Math.ceil(count / training.batch_size);
  const shares = graph.reports.has('correct');
  let diverged: string | undefined;
  const found = step.found('epoch', state, {});
  for await (const batch of step.batches()) {
    ctx.signal.throwIfAborted();
    const due = plan.policies.filter((policy) => minibatch > 0 && ((frequencyOf(policy) > 0 && t % frequencyOf(policy) === 0) || (minibatch === 1 && isLate(policy, plan)))); // prettier-ignore
    if (due.length > 0) masks = await masksAnew(step, begun.model, state, masks, due, (policy) => ({ ...ctx, lesson: lessonOf(plan, policy, t, ctx), progress: () => undefined })); // prettier-ignore
    lr = rateAt(samples / count);
    const scalars = scalarFeeds(graph, { ...optimizer.scalars({ lr, step: minibatch + 1, steps, updates }), ...step.strengths }); // prettier-ignore
    t++;
    if (optimizer.moves(minibatch + 1, steps)) updates++;
    const open = (mask: WeightMask): boolean => minibatch === 0 && late.has(mask.instance);
    const fed = Object.fromEntries([...graph.masks].map(([name, input]) => [input, maskTensor(must(masks, name, 'the mask'), step.dims(name), open)])); // prettier-ignore
    const results = await ctx.compute(graph.model, {
      ...(await step.teach(batch)),
      ...state,
      ...fed,
      ...found,
      ...step.found('step', state, { ...found, ...fed }),
      ...step.factors(state, t - 1),
      ...scalars,
    });
    state = nextState(graph, results);
    const report = (name: string): number => reported(graph, results, name);
    const loss = report('loss');
    firstLoss ??= loss;
    diverged = divergence(loss, firstLoss, `at step ${t}, in epoch ${plan.epoch}`, lr);
    if (diverged !== undefined) break;
    if (discards.size > 0) masks = new Map([...masks].map(([name, mask]) => [name, discards.has(mask.instance) ? { ...mask, data: mask.data.map(() => 1) } : mask])); // prettier-ignore
    state = step.threshold(state);
    const rows = graph.reports.has('counted') ? report('counted') : batch.count;
    counted += rows;
    const share = hasTeacher(training) ? batch.count : rows;
    [total, weight] = [total + loss * share, weight + share];
    if (shares) correct += report('correct');
    samples += batch.count;
    minibatch++;
    const speed = samples / ((performance.now() - began) / 1000);
    ctx.progress(samples / count, `epoch ${plan.epoch + 1} of ${plan.epochs}, loss ${(total / Math.max(1, weight)).toPrecision(3)},${shares && counted > 0 ? ` ${((100 * correct) / counted).toFixed(2)} %,` : ''} lr ${lr.toPrecision(3)}, ${speed.toFixed(0)} samples/s`); // prettier-ignore
  }
  if (graph.reports.has('counted') && counted === 0 && !hasTeacher(training) && diverged === undefined)
    throw new QtoolError('data', `none of the ${samples} samples to train on has a label that counts`, { at: ctx.training?.source, hint: 'a label of −1 does not count' }); // prettier-ignore
  const loss = total / Math.max(1, weight);
  for (const [name, mask] of step.keptMasks(state)) masks = new Map(masks).set(name, mask);
  const stored = floatsOf(begun.model);
  const end = settled(begun.model, plan, masks, { graph, state, average: optimizer.average });
  if (diverged === undefined && [...end.own.values()].some((data) => !data.every(Number.isFinite)))
    diverged = divergence(NaN, firstLoss ?? NaN, `behind the last step of epoch ${plan.epoch}`, lr);
  const memory: TrainingMemory = {
    slots: slotsOf(graph, state),
    masks: end.masks,
    step: t,
    updates,
    weights: training.ema === undefined ? undefined : end.own,
    learned: step.dress && { unsigned: step.dress.unsigned, numbers: numbersOf(end.own, stored, found) }, // prettier-ignore
    masters: plan.learner && end.model,
    lr,
    losses: [...losses, loss],
    firstLoss,
  };
  const trained: TrainedEpoch = {
    epoch: plan.epoch,
    loss,
    ...(shares && counted > 0 ? { accuracy: (100 * correct) / counted } : {}),
    lr,
    steps: minibatch,
    samples,
  };
  const failed = diverged === undefined ? {} : { failed: diverged };
  const held = plan.learner && step.dress && diverged === undefined ? await heldModel(end, memory, plan.learner, step.dress, ctx) : undefined; // prettier-ignore
  const result: Pick<PassResult, 'model' | 'trained' | 'failed' | 'twin' | 'held'> = { model: held?.model ?? end.model, trained, ...failed, ...(held && plan.learner?.last === true ? { held: held.held, twin: held.twin } : {}) }; // prettier-ignore
  return { memory, result, held: plan.learner?.last === true ? held : undefined };
}

const hasTeacher = ({ distillation: d }: EpochPlan['training']): boolean =>
  d !== undefined && (d.distill_wt > 0 || d.hints !== undefined);

/** What a quantizer keeps: all that is trained and not the model's own, and what it found when the epoch began. */
const numbersOf = (own: ReadonlyMap<string, Float32Array>, stored: ReadonlyMap<string, unknown>, found: Feeds): Map<string, Float32Array> =>
  new Map([...[...own].filter(([name]) => !stored.has(name)), ...Object.entries(found).map(([name, { data }]) => [name, data as Float32Array] as const)]); // prettier-ignore

/** The quantized model at the end of an epoch. */
const heldModel = (
  { model, shown }: ReturnType<typeof settled>,
  memory: TrainingMemory,
  learner: EpochLearner,
  dress: Dressed,
  ctx: PassContext,
) => {
  const numberOf = (name: string): Float32Array => shown.get(name) ?? must(given(memory.learned, 'what was learned').numbers, name, 'the number'); // prettier-ignore
  return quantizedModel(model, learner, dress, (owner, name) => numberOf(dress.constant(owner, name)), ctx);
};

/** What is wrong with a loss; undefined where nothing is. */
function divergence(loss: number, first: number, where: string, lr: number): string | undefined {
  if (!Number.isFinite(first)) return `the loss is ${first} ${where}: the samples or the model itself hold what is no number, or far too large a one`; // prettier-ignore
  if (Number.isFinite(loss) && loss <= Math.max(10 * first, first + 10)) return undefined;
  const what = Number.isNaN(loss) ? 'weights or a loss that are no numbers' : `a loss of ${loss.toPrecision(3)}`;
  return `training diverges: ${what} ${where}; it began at a loss of ${first.toPrecision(3)}: give a smaller lr than ${Number(lr.toPrecision(3))}`;
}

function maskTensor(mask: WeightMask, dims: readonly number[], open: (mask: WeightMask) => boolean): Feeds[string] {
  return float(open(mask) ? mask.data.map(() => 1) : mask.data, dims);
}

/** Masks that pruners find in the middle of an epoch. */
async function masksAnew(
  step: EpochGraph,
  model: Model,
  state: Feeds,
  old: TrainingMemory['masks'],
  due: readonly EpochPolicy[],
  ctx: (policy: EpochPolicy) => PassContext,
) {
  const masks = new Map(old);
  const now = withState(model, step.graph, state);
  for (const policy of due) {
    const result = await applyPolicy(now, policy, ctx(policy));
    const found = masksOf(
      dataOf(floatsOf(now)),
      dataOf(floatsOf(result.model)),
      policy.instance,
      howMasked(policy.args),
      old,
      result.masks,
    );
    // The graph has inputs for the masks that it began with.
    for (const [name, mask] of found) if (step.graph.masks.has(name)) masks.set(name, mask);
  }
  return masks;
}
