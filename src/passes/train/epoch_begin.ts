import type { Model } from '../../graph/model.ts';
import { producers } from '../../graph/query.ts';
import type { Shapes } from '../../graph/shapes.ts';
import { foldBatchNorm } from '../fold/batchnorm.ts';
import { foldConstants } from '../fold/constants.ts';
import { foldPasses } from '../fold/prepare.ts';
import { must } from '../../util/must.ts';
import { noteLine, type Note, type PassContext } from '../pass.ts';
import { withWeights } from '../prune/masks.ts';
import { floatsOf } from './carry.ts';
import type { EpochPlan, TrainingMemory } from './plan.ts';
import { afterPolicy, applyPolicy, lessonOf } from './policies.ts';
import { nonZeros } from './step.ts';

/** What an epoch begins its steps with. */
export interface Begun {
  readonly model: Model;
  readonly memory: TrainingMemory;
  readonly changed: readonly Note[];
  readonly skipped: readonly Note[];
  readonly notes: readonly string[];
  /** Why the epoch cannot take a step. */
  readonly failed?: string | undefined;
}

const nothing: TrainingMemory = { slots: new Map(), masks: new Map(), step: 0, updates: 0, weights: undefined, lr: undefined, losses: [], learned: undefined, masters: undefined, firstLoss: undefined }; // prettier-ignore

/** The weights as training left them, then the policies of the epoch, one after the other. */
export async function begin(given: Model, plan: EpochPlan, ctx: PassContext): Promise<Begun> {
  const old = (ctx.memory.get('training') as TrainingMemory | undefined) ?? withZeros(nothing, given);
  const from = old.masters ?? given;
  const own = old.weights === undefined ? from : withWeights(from, old.weights);
  let [model, memory] = [old.step === 0 ? (await foldConstants.apply(own, {}, ctx)).model : own, old];
  if (plan.learner && !old.learned) model = await plainly(model, ctx);
  const [changed, skipped, notes]: [Note[], Note[], string[]] = [[], [], []];
  for (const policy of plan.policies) {
    const result = await applyPolicy(model, policy, { ...ctx, lesson: lessonOf(plan, policy, memory.step, ctx) });
    changed.push(...result.changed);
    notes.push(...(result.notes ?? []).map((text) => `${policy.instance}: ${text}`), ...result.skipped.map((note) => `${policy.instance}: ${noteLine(note)}`)); // prettier-ignore
    const lost = await lostHint(model, result.model, plan, ctx);
    if (lost !== undefined) return { model: given, memory: old, changed, skipped, notes, failed: `${policy.instance} ${lost}` }; // prettier-ignore
    ({ model, memory } = await afterPolicy(model, result, memory, policy, { plan, ctx }));
  }
  return { model, memory, changed, skipped, notes };
}

/**
 * What a policy did to a hint, whose values are compared place by place with the teacher's: as the end of "it ...". Whether a remover finds
 * anything to cut there shows only when it runs; that it takes the channels between two hinted values is as it should be.
 */
async function lostHint(before: Model, after: Model, { training }: EpochPlan, ctx: PassContext) {
  const hints = Object.keys(training.distillation?.hints ?? {});
  if (hints.length === 0) return undefined;
  const [was, now] = [floatsOf(before), floatsOf(after)];
  const cut = before.graph.node.length !== after.graph.node.length || [...was].some(([name, { data }]) => now.get(name)?.data.length !== data.length); // prettier-ignore
  if (!cut) return undefined;
  const made = producers(after.graph);
  const [old, left] = [await ctx.shapes(before), await ctx.shapes(after)];
  const shape = (shapes: Shapes, name: string): string => `[${must(shapes, name, 'the shape of').dims.join(', ')}]`;
  const advice = 'hint at values that keep their channels, or cut before training begins or after it ends';
  for (const hint of hints) {
    if (!made.has(hint)) return `took the value "${hint}" away, which is a hint of the teacher: ${advice}`;
    const [from, to] = [shape(old, hint), shape(left, hint)];
    if (from !== to) return `cut "${hint}" from ${from} to ${to}, which is a hint of the teacher: ${advice}`;
  }
  return undefined;
}

/** Zeros that were there before training began stay zeros. */
function withZeros(memory: TrainingMemory, model: Model): TrainingMemory {
  const masks = new Map(memory.masks);
  for (const [name, { dims, data }] of floatsOf(model))
    if (dims.length > 1 && data.includes(0)) masks.set(name, { data: nonZeros(data), how: {}, instance: '' }); // prettier-ignore
  return { ...memory, masks };
}

/** The model as quantizers want it, but with its batch norms. */
async function plainly(model: Model, ctx: PassContext): Promise<Model> {
  let now = model;
  for (const pass of foldPasses) if (pass !== foldBatchNorm) now = (await pass.apply(now, {}, ctx)).model;
  return now;
}
