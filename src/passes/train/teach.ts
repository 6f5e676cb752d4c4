import type { Loss } from '../../autodiff/training_graph.ts';
import type { Batch, Feeds } from '../../data/types.ts';
import { withOutputs } from '../../graph/edit.ts';
import { readModel } from '../../graph/file.ts';
import type { Model } from '../../graph/model.ts';
import { modelInputs, isOp, producers } from '../../graph/query.ts';
import { QtoolError } from '../../util/error.ts';
import { given } from '../../util/must.ts';
import type { PassContext } from '../pass.ts';
import { distilled, distillFeeds, type Distillation } from './loss/distill.ts';
import { checkTeacher } from './check.ts';
import { lossKinds } from './loss/index.ts';
import type { TrainingOptions } from './options.ts';

/** The loss of an epoch, and what its inputs are fed with a batch. */
export interface Taught {
  readonly loss: Loss;
  /** @param outputs of the training model, name → dims. */
  feeds(batch: Batch, outputs: ReadonlyMap<string, readonly number[]>): Promise<Feeds>;
}

/**
 * The loss that a training block asks for. Without labels it is the distance from the teacher alone.
 * @param model the model that is trained, with hints among its outputs.
 * @param outputs its outputs on a batch of this size.
 * @throws QtoolError('data') without labels and without a teacher, and for a teacher that does not fit.
 */
export async function taught(
  training: TrainingOptions,
  model: Model,
  batch: Batch,
  outputs: ReadonlyMap<string, readonly number[]>,
  ctx: PassContext,
): Promise<Taught> {
  const { loss, distillation: asked } = training;
  const { name, ...options } = loss ?? { name: 'cross_entropy' };
  const kind = given(lossKinds.find((one) => one.name === name), name); // prettier-ignore
  const answered = ctx.training?.labelled === true || batch.targets[0]?.expected !== undefined;
  if (!answered && (asked === undefined || asked.student_wt > 0))
    throw new QtoolError('data', `the samples to train on have no labels, and ${asked ? 'student_wt is above 0' : 'there is no teacher'}`, {
      at: ctx.training?.source,
      hint: 'give labels, or learn from the float model alone: `distillation: { student_wt: 0, distill_wt: 1 }`',
    }); // prettier-ignore
  const made = kind.options.parse(options);
  const own = answered ? (kind.settled?.(made, model, batch, outputs) ?? made) : made;
  if (!asked) return { loss: kind.make(own), feeds: async (one, dims) => kind.feeds(own, one, dims) };
  const teacher = await teacherOf(training, asked.teacher, [...Object.keys(asked.hints ?? {})], ctx);
  const o: Distillation = {
    ...asked,
    hints: new Map(Object.entries(asked.hints ?? {})),
    logits: !endsInSoftmax(model),
    teacherLogits: !endsInSoftmax(teacher),
  };
  const student = o.student_wt > 0 ? kind.make(own) : undefined;
  const names = new Map(model.graph.output.map(({ name: output }, i) => [output, teacher.graph.output[i]?.name ?? output])); // prettier-ignore
  return {
    loss: distilled(student, o),
    async feeds(one, dims) {
      const wanted = new Set(modelInputs(teacher).map((input) => input.name));
      const said = await ctx.compute(teacher, Object.fromEntries(Object.entries(one.feeds).filter(([input]) => wanted.has(input))), ctx.device); // prettier-ignore
      const renamed = Object.fromEntries([...names].flatMap(([output, theirs]) => { const tensor = said[theirs]; return tensor ? [[output, tensor]] : []; })); // prettier-ignore
      const labels = student ? kind.feeds(own, one, new Map([...dims].filter(([output]) => !o.hints?.has(output)))) : {}; // prettier-ignore
      return { ...labels, ...distillFeeds(o, renamed, one, dims) };
    },
  };
}

/** The teacher, with its inner values that hints name among its outputs; read once a run. */
async function teacherOf(training: TrainingOptions, path: string, hints: readonly string[], ctx: PassContext) {
  const known = ctx.memory.get('teacher') as Model | undefined;
  if (known) return known;
  const model = path === 'float' ? ctx.reference : await readModel(path);
  checkTeacher(model, ctx.reference, training);
  const teacher = hints.length === 0 ? model : withOutputs(model, hints);
  ctx.memory.set('teacher', teacher);
  return teacher;
}

function endsInSoftmax({ graph }: Model): boolean {
  const last = producers(graph).get(given(graph.output[0], 'the output').name);
  return last !== undefined && isOp(last, 'Softmax');
}
