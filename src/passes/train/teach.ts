import type { Loss } from '../../autodiff/training_graph.ts';
import type { Batch, Feeds } from '../../data/types.ts';
import { edit, withOutputs } from '../../graph/edit.ts';
import { exitsOf, ownOutputs, setExits, type Exit } from '../../graph/exits.ts';
import { readModel } from '../../graph/file.ts';
import type { Model } from '../../graph/model.ts';
import { modelInputs, isOp, producers } from '../../graph/query.ts';
import { QtoolError } from '../../util/error.ts';
import { given, must } from '../../util/must.ts';
import type { PassContext } from '../pass.ts';
import { distilled, distillFeeds, type Distillation } from './loss/distill.ts';
import { checkTeacher } from './check.ts';
import { lossKinds } from './loss/index.ts';
import { exitInput, joint } from './loss/joint.ts';
import type { TrainingOptions } from './options.ts';

/** The loss of an epoch, and what its inputs are fed with a batch. */
export interface Taught {
  readonly loss: Loss;
  /** @param outputs of the training model, name → dims. */
  feeds(batch: Batch, outputs: ReadonlyMap<string, readonly number[]>): Promise<Feeds>;
}

/**
 * The loss that a training block asks for. Without labels it is the distance from the teacher alone. Each early exit has the same loss of its own
 * scores, with its weight.
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
  const asked = training.distillation;
  const answered = ctx.training?.labelled === true || batch.targets[0]?.expected !== undefined;
  if (!answered && (asked === undefined || asked.student_wt > 0))
    throw new QtoolError('data', `the samples to train on have no labels, and ${asked ? 'student_wt is above 0' : 'there is no teacher'}`, {
      at: ctx.training?.source,
      hint: 'give labels, or learn from the float model alone: `distillation: { student_wt: 0, distill_wt: 1 }`',
    }); // prettier-ignore
  const teacher = asked && (await teacherOf(training, asked.teacher, [...Object.keys(asked.hints ?? {})], ctx));
  const exits = exitsOf(model);
  const inner = new Set(exits.map(({ output }) => output));
  const own = <V>(all: ReadonlyMap<string, V>): Map<string, V> =>
    new Map([...all].filter(([name]) => !inner.has(name)));
  const last = lossOf(training, model, batch, own(outputs), { answered, teacher });
  const branches = exits.map((exit) => {
    const alone = withScores(model, exit);
    const one = answeredBy(batch, exit, own(outputs));
    return { exit, ...lossOf(ofExit(training), alone, one, dimsOfExit(exit, outputs, batch), { answered, teacher }) };
  });
  return {
    loss: branches.length === 0 ? last.loss : joint(last.loss, branches),
    async feeds(one, dims) {
      const said = teacher ? await ctx.compute(teacher, feedsOf(teacher, one), ctx.device) : {};
      const ofExits = branches.flatMap(({ exit, ...branch }) => {
        const fed = branch.feeds(answeredBy(one, exit, own(dims)), dimsOfExit(exit, dims, one), said);
        return Object.entries(fed).map(([name, tensor]) => [exitInput(exit.output, name), tensor] as const);
      });
      return { ...last.feeds(one, own(dims), said), ...Object.fromEntries(ofExits) };
    },
  };
}

/** What a teacher takes of a batch. */
function feedsOf(teacher: Model, { feeds }: Batch): Feeds {
  const wanted = new Set(modelInputs(teacher).map(({ name }) => name));
  return Object.fromEntries(Object.entries(feeds).filter(([input]) => wanted.has(input)));
}

/** The loss of a model's outputs, or of one exit's: of labels, a teacher, or both. */
function lossOf(
  { loss, distillation: asked }: TrainingOptions,
  model: Model,
  batch: Batch,
  outputs: ReadonlyMap<string, readonly number[]>,
  { answered, teacher }: { readonly answered: boolean; readonly teacher: Model | undefined },
) {
  const { name, ...options } = loss ?? { name: 'cross_entropy' };
  const kind = given(lossKinds.find((one) => one.name === name), name); // prettier-ignore
  const made = kind.options.parse(options);
  const own = answered ? (kind.settled?.(made, model, batch, outputs) ?? made) : made;
  type Dims = ReadonlyMap<string, readonly number[]>;
  if (!asked || !teacher) return { loss: kind.make(own), feeds: (one: Batch, dims: Dims): Feeds => kind.feeds(own, one, dims) }; // prettier-ignore
  const o: Distillation = {
    ...asked,
    hints: new Map(Object.entries(asked.hints ?? {})),
    logits: !endsInSoftmax(model),
    teacherLogits: !endsInSoftmax(teacher),
  };
  const student = o.student_wt > 0 ? kind.make(own) : undefined;
  // Outputs are each other's by their place; hints, behind them, have one name in both.
  const theirs = ownOutputs(teacher);
  const names = new Map(ownOutputs(model).map(({ name: output }, i) => [output, o.hints?.has(output) === true ? output : (theirs[i]?.name ?? output)])); // prettier-ignore
  return {
    loss: distilled(student, o),
    feeds(one: Batch, dims: Dims, said: Feeds): Feeds {
      const renamed = Object.fromEntries([...names].flatMap(([output, from]) => { const tensor = said[from]; return tensor ? [[output, tensor]] : []; })); // prettier-ignore
      const labels = student ? kind.feeds(own, one, new Map([...dims].filter(([output]) => !o.hints?.has(output)))) : {}; // prettier-ignore
      return { ...labels, ...distillFeeds(o, renamed, one, dims) };
    },
  };
}

/** What an exit is trained by: it gives scores along its last axis, whatever the model's own output holds, and has no inner values. */
function ofExit(training: TrainingOptions): TrainingOptions {
  const { loss, distillation } = training;
  if (distillation && distillation.student_wt + distillation.distill_wt === 0)
    throw new QtoolError('schedule', 'the early exits learn nothing: student_wt and distill_wt are 0, and hints are of inner values', { at: 'training.distillation', hint: 'give student_wt or distill_wt a weight' }); // prettier-ignore
  const { output: _output, axis: _axis, logits: _logits, ...rest } = loss ?? { name: 'cross_entropy' };
  return { ...training, loss: rest, distillation: distillation && { ...distillation, hints: undefined } };
}

/** The model with an exit as its only output. */
const withScores = (model: Model, { output }: Exit): Model =>
  edit(model, (draft) => {
    draft.setOutputs(model.graph.output.filter(({ name }) => name === output));
    setExits(draft, []);
  });

/** A batch whose answers are those of an exit: what is expected of the model's own output. */
function answeredBy(batch: Batch, { output }: Exit, own: ReadonlyMap<string, unknown>): Batch {
  const [first = ''] = own.keys();
  const targets = batch.targets.map((target) => {
    const expected = target?.expected?.[first];
    return expected ? { ...target, expected: { [output]: expected } } : target;
  });
  return { ...batch, targets };
}

/** @throws QtoolError('graph') for an exit whose rows are no samples. */
function dimsOfExit({ output, at }: Exit, outputs: ReadonlyMap<string, readonly number[]>, { size }: Batch) {
  const dims = must(outputs, output, 'the exit');
  if (dims[0] === size) return new Map([[output, dims]]);
  throw new QtoolError('graph', `${output} gives ${dims[0]} rows of scores for ${size} samples: the first axis of "${at}" is not the batch`, { hint: 'begin the exit at a value whose first axis is' }); // prettier-ignore
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

function endsInSoftmax(model: Model): boolean {
  const last = producers(model.graph).get(given(ownOutputs(model)[0], 'the output').name);
  return last !== undefined && isOp(last, 'Softmax');
}
