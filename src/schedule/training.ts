import { trainingEpoch } from '../passes/train/epoch.ts';
import type { EpochPlan, EpochPolicy, EpochRegularizer } from '../passes/train/plan.ts';
import { trainingSchema, type TrainingOptions } from '../passes/train/options.ts';
import { learningKinds } from '../passes/train/surrogate/index.ts';
import type { LearningOptions } from '../passes/train/surrogate/kind.ts';
import { anyPass, type Pass } from '../passes/pass.ts';
import { given } from '../util/must.ts';
import { inspectYaml, type Problem, type YamlDoc } from '../util/yaml.ts';
import type { Application } from './policies.ts';
import type { Gate, Stage } from './types.ts';

/** What of a schedule trains, and for how many epochs. */
export interface Training {
  readonly options: TrainingOptions;
  readonly epochs: number;
  /** Where it stands in the file: `training:`, or the first policy that asks for it. */
  readonly path: readonly (string | number)[];
  /** The file has no `training:`; it is one of Distiller's, and its defaults are in force. */
  readonly implied: boolean;
}

/** Passes that may run in an epoch of training: they zero weights or cut what is zero, or learn, or add what is to be trained. */
const runsInEpochs = (pass: Pass): boolean => /^(prune|fold)\//.test(pass.name) || pass.section === 'pruners' || pass.learns === true || pass.grows === true; // prettier-ignore

/** Whether an application has no meaning but in training. */
const asksForTraining = ({ instance, maskArgs }: Application): boolean =>
  instance.kind !== undefined ||
  instance.pass?.learns === true ||
  instance.pass?.grows === true ||
  Object.keys(maskArgs).length > 0;

/**
 * Reads `training:`. Where a file has none, learning rates, regularizers and arguments of masks say that it is meant to train.
 * @param possible false where it is known that there are no samples to train on.
 */
export function readTraining(
  doc: YamlDoc,
  applications: readonly Application[],
  possible: boolean | undefined,
  problems: Problem[],
): Training | undefined {
  const written = 'training' in (doc.value as Record<string, unknown>);
  const asking = applications.filter(asksForTraining);
  if (!written && (asking.length === 0 || possible === false)) return undefined;
  const path = written ? ['training'] : (asking[0]?.path.slice(0, 2) ?? []);
  if (written && possible === false)
    problems.push({ path, message: 'there are no samples to train on: give the data config a set "training:"', on: 'key' }); // prettier-ignore
  const read = written ? inspectYaml(doc, trainingSchema, ['training']) : { value: trainingSchema.parse({}) };
  if (!('value' in read)) {
    problems.push(...read.problems);
    return undefined;
  }
  const acting = applications.filter(({ instance }) => instance.kind !== undefined || (instance.pass && runsInEpochs(instance.pass))); // prettier-ignore
  const last = acting.reduce((most, { when }) => Math.max(most, when.end), 0);
  const epochs = read.value.epochs ?? last;
  if (epochs === 0) problems.push({ path, message: 'does not say for how long: give it "epochs:"', on: 'key' });
  const training = { options: read.value, epochs, path, implied: !written };
  problems.push(...tooEarly(training, applications), ...beyond(training, applications), ...learners(training, applications), ...twoGates(training, applications)); // prettier-ignore
  return training;
}

export const impliedNote = (epochs: number, { batch_size, optimizer }: TrainingOptions): string =>
  `the schedule trains, and has no "training:": ${epochs} epochs by its policies, batches of ${batch_size}, ${optimizer.name} with lr ${String(optimizer['lr'])}`;

/**
 * What a network bears whose batch norms are folded: at ten times that rate the loss of ResNet-20 explodes, and without the bound that of
 * ResNet-56 with half of its filters gone.
 */
const borne = { lr: 0.001, clip_norm: 5 };

/**
 * A plan of a schedule that says nothing of its rate, for a model with convolutions and without batch norms.
 * @returns the plan, and the note that tells its rate.
 */
export function forFolded(plan: EpochPlan): { readonly plan: EpochPlan; readonly note: string } {
  const { lr, clip_norm } = borne;
  const training = { ...plan.training, optimizer: { ...plan.training.optimizer, lr }, clip_norm };
  const note = `${impliedNote(plan.epochs, training)} and clip_norm ${clip_norm}, for batch norms are folded`;
  return { plan: { ...plan, training }, note };
}

/** What can only run on a trained model, and would run before the last epoch. */
function tooEarly({ epochs }: Training, applications: readonly Application[]): Problem[] {
  return applications.flatMap(({ instance, when, path }) => {
    const { pass } = instance;
    if (!pass || runsInEpochs(pass) || path[0] !== 'policies' || when.start >= epochs) return [];
    const message = `${instance.class} works on a trained model, and the model is trained until epoch ${epochs - 1}: start it at epoch ${epochs} or later`;
    return [{ path: path.slice(0, 2), message, on: 'key' as const }];
  });
}

/** A quantizer that learns does so until the last epoch, and there is one. */
function learners({ epochs }: Training, applications: readonly Application[]): Problem[] {
  const found = applications.filter(({ instance }) => instance.pass?.learns === true);
  return found.flatMap(({ instance, when, path, options }, i) => {
    const at = { path: path.slice(0, 2), on: 'key' as const };
    if (i > 0) return [{ ...at, message: `one quantizer learns while training, and ${found[0]!.instance.name} does already` }]; // prettier-ignore
    const { bits_weights: weights, overrides = {} } = (options ?? {}) as Partial<LearningOptions>;
    if (weights === null && Object.keys(overrides).length === 0) return [{ path: [...instance.path], on: 'key' as const, message: `rounds no weights: give ${instance.class} bits_weights` }]; // prettier-ignore
    if (when.end === epochs) return [];
    return [{ ...at, message: `${instance.class} learns until training ends: give it ending_epoch ${epochs}, not ${when.end}` }]; // prettier-ignore
  });
}

/** Learning rates, regularizers and what is to be trained, where they act on no epoch. */
function beyond({ epochs }: Training, applications: readonly Application[]): Problem[] {
  return applications.flatMap(({ instance, when, path }) => {
    if ((instance.kind === undefined && instance.pass?.grows !== true) || when.start < epochs) return [];
    const message = `acts from epoch ${when.start} on, and training ends with epoch ${epochs - 1}`;
    return [{ path: path.slice(0, 2), message, on: 'key' as const }];
  });
}

/** Policies of different gates in one epoch, which is one stage. */
function twoGates({ epochs }: Training, applications: readonly Application[]): Problem[] {
  const gated = applications.filter(({ gate }) => gate !== undefined && gate !== 'none');
  const apart = (a: Application, b: Application): boolean =>
    JSON.stringify(a.gate) !== JSON.stringify(b.gate) &&
    a.when.epochs.some((epoch) => epoch < epochs && b.when.epochs.includes(epoch));
  const shared = gated.find((one, i) => gated.slice(0, i).some((other) => apart(one, other)));
  if (!shared) return [];
  const message = 'an epoch of training has one gate, and a policy before has another in the same epoch: put one at the top of the file'; // prettier-ignore
  return [{ path: [...shared.path.slice(0, 2), 'gate'], message, on: 'key' }];
}

/** What of a schedule does nothing, or less than it says, for the epochs that training has. */
export function cutShort({ epochs }: Training, applications: readonly Application[]): string[] {
  const rates = applications.filter(({ instance: { kind } }) => kind && !('regimes' in kind));
  return applications.flatMap(({ instance, when, maskArgs, path }) => {
    const at = path.slice(0, 2).join('.');
    const behind = when.epochs.at(-1)!;
    if (instance.kind && behind >= epochs) return [`${at}: ${instance.name} would act until epoch ${behind}, and training ends with epoch ${epochs - 1}`]; // prettier-ignore
    if (instance.pass && when.start >= epochs && Object.keys(maskArgs).length > 0) return [`${at}: ${Object.keys(maskArgs).join(', ')} acts in training, which ends with epoch ${epochs - 1}`]; // prettier-ignore
    const place = rates.findIndex((one) => one.path[1] === path[1]);
    const over = rates.slice(place + 1).find((one) => when.epochs.some((epoch) => one.when.epochs.includes(epoch)));
    if (place < 0 || !over) return [];
    const epoch = when.epochs.find((one) => over.when.epochs.includes(one));
    return [`${at}: from epoch ${epoch} on ${over.instance.name} sets the rate, which stands behind ${instance.name}`];
  });
}

/** A stage for every epoch of training. */
export function trainingStages(
  training: Training,
  applications: readonly Application[],
  common: Gate | undefined,
  at: string,
): Omit<Stage, 'index'>[] {
  // Without a gate of the file, what a policy asked for is still to be held when training ends.
  let asked: Gate | undefined;
  return Array.from({ length: training.epochs }, (_, epoch) => {
    const active = applications.filter(({ when }) => when.epochs.includes(epoch));
    const learner = applications.find(({ instance, when }) => instance.pass?.learns === true && when.start <= epoch);
    const gates = active.flatMap(({ gate }) => gate ?? []);
    const own = gates.find((gate) => gate !== 'none');
    asked = own ?? asked;
    const options: EpochPlan = {
      training: training.options,
      epoch,
      epochs: training.epochs,
      policies: active.flatMap((application) => policyOf(application, epoch)),
      regularizers: active.flatMap((application) => regularizerOf(application, epoch)),
      learner: learner && learnerOf(learner, epoch),
      rate: active.map((application) => rateOf(application, epoch)).findLast((rate) => rate !== undefined),
    };
    return {
      instance: 'training',
      class: 'TrainingEpoch',
      pass: anyPass(trainingEpoch),
      options,
      clock: { epoch, start: 0, end: training.epochs, frequency: 1 },
      gate: own ?? (gates.length > 0 ? undefined : (common ?? asked)),
      at,
      epoch: { last: epoch === training.epochs - 1, learns: learner !== undefined },
    };
  });
}

function learnerOf({ instance, options, when }: Application, epoch: number): EpochPlan['learner'] {
  const kind = given(learningKinds.find(({ name }) => name === instance.pass?.name), 'the kind of quantizer'); // prettier-ignore
  return {
    instance: instance.name,
    kind,
    options: options as LearningOptions,
    last: epoch + 1 === when.end,
    done: (epoch - when.start) / (when.end - when.start),
  };
}

function policyOf({ instance, options, when, maskArgs }: Application, epoch: number): EpochPolicy[] {
  if (!instance.pass || instance.pass.learns === true) return [];
  const clock = { epoch, start: when.start, end: when.end, frequency: when.frequency };
  return [{ instance: instance.name, pass: instance.pass, options, clock, args: maskArgs }];
}

function regularizerOf({ instance, options, when, maskArgs }: Application, epoch: number): EpochRegularizer[] {
  const { kind } = instance;
  if (!kind || !('regimes' in kind)) return [];
  return [{ instance: instance.name, kind, options, keepMask: maskArgs['keep_mask'] === true, last: epoch + when.frequency >= when.end }]; // prettier-ignore
}

function rateOf({ instance, options, when }: Application, epoch: number): EpochPlan['rate'] {
  const { kind } = instance;
  if (!kind || 'regimes' in kind) return undefined;
  return { instance: instance.name, kind, options, at: when.epochs.indexOf(epoch), of: when.epochs.length, first: when.start }; // prettier-ignore
}

/** What a report says of an epoch's plan: names, and numbers of this epoch. */
export const epochSummary = ({ training, policies, regularizers, learner, rate }: EpochPlan) => ({
  ...training,
  policies: policies.map(({ instance }) => instance),
  regularizers: regularizers.map(({ instance }) => instance),
  rate: rate?.instance,
  ...(learner ? { learner: learner.instance } : {}),
});
