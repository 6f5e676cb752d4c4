import { readModel } from '../../graph/file.ts';
import type { Model } from '../../graph/model.ts';
import { layerFacts, resolveNames, suggestSelector } from '../../graph/names.ts';
import { modelInputs, producers } from '../../graph/query.ts';
import { QtoolError } from '../../util/error.ts';
import { given } from '../../util/must.ts';
import { parsePattern } from '../../util/pattern.ts';
import { didYouMean } from '../../util/suggest.ts';
import { floatsOf } from './carry.ts';
import type { TrainingOptions } from './options.ts';
import type { EpochPlan } from './plan.ts';

/**
 * Checks the names of a first epoch against the model that it is for, before any work: layers, weights, inner values, the teacher's file.
 * What a pass of that epoch may make is left to the epoch itself.
 */
export async function checkLesson(model: Model, { training, policies }: EpochPlan): Promise<void> {
  if (policies.every(({ pass }) => pass.section === 'pruners')) {
    wantedParameters(model, training);
    hintsOf(model, training);
  }
  const { teacher = 'float' } = training.distillation ?? {};
  if (teacher !== 'float') checkTeacher(await readModel(teacher), model, training);
}

/**
 * Which parameters `trainable` and `frozen` let be trained: those of that name, or all that a layer of that name reads.
 * @throws QtoolError('schedule') for a pattern that matches nothing.
 */
export function wantedParameters(
  model: Model,
  { trainable, frozen }: { readonly trainable?: readonly string[] | undefined; readonly frozen?: readonly string[] | undefined }, // prettier-ignore
): (name: string) => boolean {
  const layers = layerFacts(model);
  const tensors = [...floatsOf(model).keys()];
  const chosen = (patterns: readonly string[] | undefined, key: string): ReadonlySet<string> | undefined =>
    patterns && new Set(patterns.flatMap((pattern) => {
      const named = tensors.filter((name) => parsePattern(pattern).matches(name));
      if (named.length > 0 && pattern !== '*') return named;
      const found = resolveNames([pattern], layers, 'layers').matches.get(pattern) ?? [];
      const reads = found.flatMap(({ layer }) => given(model.graph.node[layer.index], layer.node).input);
      if (reads.length > 0) return reads;
      throw new QtoolError('schedule', `"${pattern}" matches no layer and no weight of the model${suggestSelector(pattern, layers, 'layers')}`, { at: `training.${key}` });
    })); // prettier-ignore
  const only = chosen(trainable, 'trainable');
  const not = chosen(frozen, 'frozen');
  return (name) => (only?.has(name) ?? true) && !(not?.has(name) ?? false);
}

/** The inner values that are to be like the teacher's. @throws QtoolError('schedule') for one that the model has not, and for an output. */
export function hintsOf(model: Model, training: TrainingOptions): string[] {
  const hints = Object.keys(training.distillation?.hints ?? {});
  const made = [...producers(model.graph).keys()];
  for (const hint of hints)
    if (!made.includes(hint)) throw new QtoolError('schedule', `the model has no value "${hint}"${didYouMean(hint, made)}`, { at: 'training.distillation.hints' }); // prettier-ignore
  const shownAlready = hints.find((hint) => model.graph.output.some(({ name }) => name === hint));
  if (shownAlready !== undefined) throw new QtoolError('schedule', `"${shownAlready}" is an output of the model: hints are inner values`, { at: 'training.distillation.hints', hint: 'distill_wt weighs the outputs' }); // prettier-ignore
  return hints;
}

/** @throws QtoolError for a teacher that lacks an inner value, or wants what its student does not take. */
export function checkTeacher(teacher: Model, student: Model, { distillation }: TrainingOptions): void {
  const made = producers(teacher.graph);
  const lacking = Object.keys(distillation?.hints ?? {}).find((hint) => !made.has(hint));
  if (lacking !== undefined) throw new QtoolError('schedule', `the teacher has no value "${lacking}"`, { at: 'training.distillation.hints' }); // prettier-ignore
  const own = new Map(modelInputs(student).map((input) => [input.name, input]));
  for (const { name, type, dims } of modelInputs(teacher)) {
    const theirs = own.get(name);
    const at = distillation?.teacher;
    const hint = 'a teacher takes what its student takes';
    if (!theirs) throw new QtoolError('model', `the teacher's input "${name}" is none of the student's`, { at, hint });
    const wide = (axis: number): boolean => typeof dims?.[axis] === 'number' && typeof theirs.dims?.[axis] === 'number';
    const apart = dims?.some((size, axis) => axis > 0 && wide(axis) && size !== theirs.dims?.[axis]);
    if (type !== theirs.type || apart === true)
      throw new QtoolError('model', `the teacher's input "${name}" is ${type}[${(dims ?? []).join(', ')}], and the student's ${theirs.type}[${(theirs.dims ?? []).join(', ')}]`, { at, hint }); // prettier-ignore
  }
}
