import type { Feeds } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';
import { must } from '../../util/must.ts';
import type { Lesson, PassContext, PassResult } from '../pass.ts';
import { floatsOf, placesAfter, taken } from './carry.ts';
import type { EpochGraph } from './epoch_graph.ts';
import { rankedFolded } from './folded_ranking.ts';
import { lossGradients } from './gradients.ts';
import { howMasked, masksOf, type WeightMask } from './masks.ts';
import type { EpochPlan, EpochPolicy, TrainingMemory } from './plan.ts';
import { withState } from './settle.ts';

/** The pruners and removers of an epoch: when each acts, and what becomes of masks and of the optimizer's memory. */

/** How often a policy finds masks anew within an epoch, in steps; 0: never. */
const frequencyOf = ({ args }: EpochPolicy): number => args.mini_batch_pruning_frequency ?? 0;

/** Whether a policy begins behind the first step of this epoch. */
export const isLate = ({ args, clock }: EpochPolicy, { epoch }: EpochPlan): boolean =>
  args.skip_first_minibatch === true && epoch === clock.start;

/** What a policy may ask while the model is trained. */
export const lessonOf = (plan: EpochPlan, { args }: EpochPolicy, step: number, ctx: PassContext): Lesson => ({
  step,
  passing: args.mask_on_forward_only === true,
  gradients: (model, names, samples) => lossGradients(model, names, samples, plan.training, ctx),
});

/** Runs the pass of a policy, with the memory of its instance. */
export function applyPolicy(model: Model, { instance, pass, options, clock, args }: EpochPolicy, ctx: PassContext) {
  // Beside what training itself keeps there, whatever instances are called.
  const key = `policy ${instance}`;
  const memory = new Map(ctx.memory.get(key) as Map<string, unknown> | undefined);
  ctx.memory.set(key, memory);
  const prune = (one: Model): Promise<PassResult> => pass.apply(one, options, { ...ctx, clock, memory });
  return args.fold_batchnorm === true && byWeight.test(pass.name) ? rankedFolded(model, prune) : prune(model);
}

/** Pruners that choose by the weights alone, which is what folding changes. */
const byWeight = /^prune\/(magnitude|level|sensitivity|splicing|agp|baidu_rnn|n_m|structure\/l[12]_ranked(_agp)?)$/;

/** The model and the masks after a policy: what it zeroed is masked; where it cut, slots and masks are cut alike. */
export async function afterPolicy(
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

/** Masks that pruners find in the middle of an epoch: `minibatch` steps of it, `step` of all were taken. */
export async function masksWithin(
  step: EpochGraph,
  model: Model,
  { state, masks: old, minibatch, step: t }: { readonly state: Feeds; readonly masks: TrainingMemory['masks']; readonly minibatch: number; readonly step: number }, // prettier-ignore
  plan: EpochPlan,
  ctx: PassContext,
): Promise<TrainingMemory['masks']> {
  const due = plan.policies.filter((policy) => minibatch > 0 && ((frequencyOf(policy) > 0 && t % frequencyOf(policy) === 0) || (minibatch === 1 && isLate(policy, plan)))); // prettier-ignore
  if (due.length === 0) return old;
  const masks = new Map(old);
  const now = withState(model, step.graph, state);
  for (const policy of due) {
    const lesson = lessonOf(plan, policy, t, ctx);
    const result = await applyPolicy(now, policy, { ...ctx, lesson, progress: () => undefined });
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

const dataOf = (floats: ReturnType<typeof floatsOf>) => new Map([...floats].map(([name, { data }]) => [name, data]));
