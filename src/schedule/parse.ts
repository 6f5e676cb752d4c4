import { metricKinds } from '../metrics/index.ts';
import type { Metric } from '../metrics/metric.ts';
import type { Pass, Section } from '../passes/pass.ts';
import { QtoolError } from '../util/error.ts';
import { must } from '../util/must.ts';
import { parsePattern } from '../util/pattern.ts';
import { didYouMean } from '../util/suggest.ts';
import { valueAt } from '../util/problems.ts';
import { inspectYaml, readYaml, yamlError, type Problem, type YamlDoc } from '../util/yaml.ts';
import { maxSteps, once } from './epochs.ts';
import { isRecord, readInstances, type Instance } from './instances.ts';
import { gateOrNone, isRunning, limitProblem, namesSchema, policyKeys, toGate, toLimit, topKeys } from './language.ts';
import { readPolicies, type Application } from './policies.ts';
import { cutShort, impliedNote, readTraining, trainingStages } from './training.ts';
import type { Gate, ParsedSchedule, Selector, SelectorGroup, Stage, Waiting } from './types.ts';

/** What a schedule is checked against before any model is there. */
export interface ScheduleContext {
  readonly passes: readonly Pass[];
  /** The metrics that a gate may name; not checked where left out. */
  readonly metrics?: Measured | undefined;
  /** Whether there are samples to train on; not known where left out. */
  readonly training?: boolean | undefined;
}

type Measured = readonly Pick<Metric, 'name' | 'perfect'>[];

/** Longer files take seconds to parse alone; those written by hand have a tenth of it. */
const maxLength = 250_000;

/**
 * Reads a schedule and checks everything that needs no model: keys, types, classes, instances, epochs, gates, patterns.
 * `bindSchedule` then checks it against a model.
 *
 * @param file the name that errors show
 * @throws QtoolError('schedule') with `file:line:col key.path: message`; several problems are listed a line each
 */
export function parseSchedule(text: string, file: string, context: ScheduleContext): ParsedSchedule {
  if (text.length > maxLength)
    throw new QtoolError('schedule', `${text.length} characters are no schedule: at most ${maxLength}`, {
      at: file,
      hint: 'say ranges of epochs by starting_epoch, ending_epoch and frequency, and layers by patterns',
    });
  const doc = readYaml(text, file, 'schedule');
  if (!isRecord(doc.value))
    throw new QtoolError('schedule', 'a schedule is a mapping: version, pruners, quantizers, ..., policies', {
      at: doc.at([]),
    });
  const { metrics } = context;
  const problems: Problem[] = [...checkTop(doc.value)];
  const take = <T>(result: { value: T } | { problems: readonly Problem[] }): T | undefined => {
    if ('value' in result) return result.value;
    problems.push(...result.problems);
    return undefined;
  };

  const gate = 'gate' in doc.value ? take(inspectYaml(doc, gateOrNone, ['gate'])) : undefined;
  const names = 'names' in doc.value ? take(inspectYaml(doc, namesSchema, ['names'])) : undefined;
  const instances = readInstances(doc, context.passes, problems);
  const { applications, notes } = readPolicies(doc, instances, problems);
  const training = readTraining(doc, applications, context.training, problems);
  problems.push(...tooManySteps(applications));
  const used = new Set(applications.map(({ instance }) => instance));
  const idle = instances.filter((instance) => !used.has(instance) && instance.class !== undefined);
  const late = idle.filter(({ pass }) => pass?.section === 'quantizers' && pass.learns !== true);
  // A policy that cannot be read may well be the one that uses it.
  if (!problems.some(({ path }) => path[0] === 'policies'))
    for (const instance of idle)
      if (!late.includes(instance) && (training || !instance.kind)) problems.push(unused(instance));

  const all = [...applications, ...lateQuantizers(applications, late, training?.epochs ?? 0)];
  for (const instance of late) notes.push(`no policy uses quantizers.${instance.name}: it runs last`);
  for (const instance of instances) notes.push(...instance.notes.map((note) => `${instance.path.join('.')}.${note}`));
  const groups = groupSelectors(all, problems);
  // What runs within epochs of training is part of their stages.
  const epochs = training?.epochs ?? 0;
  const steps = stepsOf(all).filter(({ epoch }) => epoch >= epochs);
  problems.push(...afterTheLast(steps));
  if (metrics) problems.push(...checkMetrics(doc, all, metrics));
  if (problems.length === 0 && instances.length === 0 && !training)
    problems.push({ path: [], message: 'the schedule does nothing: it has no instances and no policies' });
  if (problems.length > 0) throw yamlError(doc, problems);

  const common = gate === undefined ? undefined : toGate(gate);
  const trained = training ? trainingStages(training, all, common, doc.at(training.path, 'key')) : [];
  const judged = [...trained, ...toStages(doc, steps, common)].map((stage, i): Stage => ({ ...stage, index: i + 1 }));
  const stages = metrics === undefined ? judged : judged.map((stage) => onMeasured(stage, metrics));
  for (const [i, { gate: now }] of stages.entries()) {
    const asked = judged[i]?.gate?.metric;
    if (now && asked !== now.metric)
      notes.push(`${asked} cannot be measured on this data: gates on it judge ${now.metric} instead`);
  }
  if (stages.length === 0) notes.push('nothing in this schedule can run without training');
  if (training) notes.push(...cutShort(training, applications));
  if (training?.implied) notes.push(impliedNote(training.epochs, training.options));
  const waiting = training ? [] : withoutSamples(doc, instances, applications);
  return { file, stages, waiting, notes: [...new Set(notes)], warnings: idleStages(stages), doc, groups, names: names ?? {}, implied: training?.implied === true }; // prettier-ignore
}

function checkTop(value: Record<string, unknown>): Problem[] {
  const problems: Problem[] = Object.keys(value)
    .filter((key) => !(topKeys as readonly string[]).includes(key))
    .map((key) => ({
      path: [key],
      message: `unknown key${didYouMean(key, topKeys) || `; known: ${topKeys.join(', ')}`}`,
      on: 'key' as const,
    }));
  if ('version' in value && value['version'] !== 1)
    problems.push({
      path: ['version'],
      message: `this qtool reads schedules of version 1, not ${String(value['version'])}`,
    });
  return problems;
}

/** What acts in training, where there is nothing to train on. */
function withoutSamples(doc: YamlDoc, instances: readonly Instance[], applications: readonly Application[]): Waiting[] {
  const reason = 'it acts in training, and the data config has no set "training:" with samples to train on';
  const kinds = instances.filter(
    ({ kind, pass }) => kind !== undefined || pass?.learns === true || pass?.grows === true,
  );
  return [
    ...kinds.map(({ path, class: name }) => ({ name: `${path.join('.')} (${name})`, at: doc.at(path, 'key'), reason })),
    ...applications.flatMap(
      ({ path, maskArgs }) =>
      Object.keys(maskArgs).map((key) => ({ name: [...path, 'args', key].map(String).join('.'), at: doc.at([...path, 'args', key], 'key'), reason })), // prettier-ignore
    ),
  ];
}

function unused(instance: Instance): Problem {
  const use = `- ${policyKeys[instance.section]}: { instance_name: ${instance.name} }`;
  return { path: instance.path, message: `no policy uses it; add "${use}" and its epochs, or remove it`, on: 'key' };
}

// Post-training quantization needs no policy in Distiller: it happens when everything else is done.
function lateQuantizers(before: readonly Application[], late: readonly Instance[], trained: number): Application[] {
  const first = before.reduce((most, { when }) => Math.max(most, when.end), trained);
  return late.map((instance, i) => {
    const start = first + i;
    const { options, path } = instance;
    return { instance, when: once(start), gate: undefined, fallback: undefined, options, args: {}, maskArgs: {}, path };
  });
}

/** The selectors of every set of options once, their patterns checked. */
function groupSelectors(applications: readonly Application[], problems: Problem[]): SelectorGroup[] {
  const groups = new Map<unknown, SelectorGroup>();
  for (const { instance, options, args, path } of applications) {
    const listed = options === undefined || groups.has(options) ? undefined : selectorsOf(instance, options);
    if (listed === undefined) continue;
    const selectors = listed.map(({ pattern, path: below, over }): Selector => {
      const top = String(below[0]) in args ? [...path, 'args'] : instance.path;
      return { pattern, over, path: [...top, ...below], below };
    });
    groups.set(options, { options, selectors });
    for (const { pattern, path: place } of selectors) {
      const message = patternProblem(pattern);
      if (message !== undefined) problems.push({ path: place, message });
    }
  }
  return [...groups.values()];
}

function selectorsOf(
  { pass, kind }: Instance,
  options: unknown,
): ReturnType<NonNullable<Pass['selectors']>> | undefined {
  if (kind && 'regimes' in kind)
    return kind
      .regimes(options)
      .map(({ weights }) => ({ pattern: weights, path: ['reg_regims', weights], over: 'weights' }));
  return pass?.selectors?.(options);
}

function patternProblem(pattern: string): string | undefined {
  try {
    parsePattern(pattern);
    return undefined;
  } catch (error) {
    if (error instanceof QtoolError)
      return error.hint === undefined ? error.message : `${error.message}; ${error.hint}`;
    throw error;
  }
}

function checkMetrics(doc: YamlDoc, applications: readonly Application[], metrics: Measured): Problem[] {
  const names = metrics.map(({ name }) => name);
  const paths = [
    ['gate'],
    ...applications.flatMap(({ path }) => [
      [...path.slice(0, 2), 'gate'],
      [...path, 'fallback'],
    ]),
  ];
  return paths.flatMap((path) => {
    const gate = valueAt(doc.value, path);
    const other = valueAt(gate, ['unlabelled']);
    const measured = metrics.some((one) => one.name === valueAt(gate, ['metric']));
    // Only a metric that there is may lack labels: a misspelt one is a mistake.
    const known = metricKinds.some((kind) => kind.name === valueAt(gate, ['metric']));
    if (other !== undefined && !measured && known) path.push('unlabelled');
    const written = valueAt(doc.value, path);
    const name = valueAt(written, ['metric']);
    if (typeof name !== 'string') return [];
    const metric = metrics.find((one) => one.name === name);
    if (metric === undefined)
      return [
        {
          path: [...path, 'metric'],
          message: metricKinds.some((kind) => kind.name === name)
            ? `${name} cannot be measured on this data; what can: ${names.join(', ')}`
            : `unknown metric "${name}"${didYouMean(name, names) || `; known: ${names.join(', ')}`}`,
        },
      ];
    if (metric.perfect === undefined || valueAt(written, ['max_drop']) === undefined) return [];
    const message = limitProblem(toLimit(written as Parameters<typeof toLimit>[0]), { reference: metric.perfect });
    return message === undefined ? [] : [{ path: [...path, 'max_drop'], message, on: 'key' as const }];
  });
}

/** A stage with the gate that this data lets be judged. */
function onMeasured(stage: Stage, metrics: Measured): Stage {
  const { gate } = stage;
  if (!gate?.unlabelled || metrics.some(({ name }) => name === gate.metric)) return stage;
  return { ...stage, gate: { ...gate.unlabelled, onFail: gate.onFail, insteadOf: gate.metric } };
}

interface Step {
  readonly application: Application;
  readonly epoch: number;
}

/** Epoch by epoch, within an epoch in the order of the file. */
function stepsOf(applications: readonly Application[]): Step[] {
  const running = applications.filter(({ instance }) => isRunning(instance.section) && instance.pass && !instance.pass.learns && !instance.pass.grows); // prettier-ignore
  const steps = running.flatMap((application) => application.when.epochs.map((epoch) => ({ application, epoch })));
  return steps.sort((a, b) => a.epoch - b.epoch); // stable
}

function tooManySteps(applications: readonly Application[]): Problem[] {
  const total = applications.reduce((sum, { instance, when }) => sum + (instance.pass ? when.epochs.length : 0), 0);
  return total <= maxSteps
    ? []
    : [{ path: ['policies'], message: `these are ${total} steps in all; at most ${maxSteps}`, on: 'key' }];
}

/** Where a policy stands; the instance for a quantizer that no policy names. */
const placeOf = ({ path }: Application): readonly (string | number)[] =>
  path[0] === 'policies' ? path.slice(0, 2) : path;

/** The first stage of each policy that comes after a pass which must be the last one. */
function afterTheLast(steps: readonly Step[]): Problem[] {
  const at = steps.findIndex(({ application }) => application.instance.pass?.closes !== undefined);
  const closing = steps[at];
  if (closing === undefined) return [];
  const { instance } = closing.application;
  const told = new Set<Application>();
  return steps.slice(at + 1).flatMap(({ application, epoch }) => {
    if (told.has(application)) return [];
    told.add(application);
    const [own, other] = [application.instance, `"${instance.name}" (${instance.class}, epoch ${closing.epoch})`];
    const again = application === closing.application;
    const message = again
      ? `"${own.name}" runs again in epoch ${epoch}, but it ${instance.pass?.closes}: give it one epoch, the last`
      : `"${own.name}" (epoch ${epoch}) runs after ${other}, which ${instance.pass?.closes}: put "${instance.name}" last`;
    return [{ path: placeOf(application), message, on: 'key' as const }];
  });
}

/** Stages that have nothing to do, or of which nothing comes, for want of another: once for each instance. */
function idleStages(stages: readonly Stage[]): string[] {
  const told = stages.flatMap(({ instance, pass }, i) => {
    const [before, behind] = [stages.slice(0, i), stages.slice(i + 1)];
    const has = (some: readonly Stage[], section: string): boolean => some.some((one) => one.pass.section === section || (section === 'quantizers' && one.epoch?.learns === true)); // prettier-ignore
    const { follows, precedes, classes } = pass;
    const name = `"${instance}" (${classes[0] ?? pass.name})`;
    if (follows !== undefined && !has(before, follows))
      return [`${name} will do nothing: it works on what ${singular(follows)} has made, and none runs before it`];
    if (precedes !== undefined && !has(behind, precedes))
      return [`nothing will come of ${name}: it prepares for ${singular(precedes)}, and none runs behind it`];
    return [];
  });
  return [...new Set(told)];
}

const singular = (section: Section): string => (section.match(/^[aeiou]/) ? 'an ' : 'a ') + policyKeys[section];

function toStages(doc: YamlDoc, steps: readonly Step[], common: Gate | undefined): Omit<Stage, 'index'>[] {
  const places = new Map<Application, string>();
  for (const { application } of steps)
    if (!places.has(application)) places.set(application, doc.at(placeOf(application), 'key'));
  return steps.map(({ application, epoch }) => {
    const { instance, when, gate, fallback, options } = application;
    return {
      instance: instance.name,
      class: instance.class!,
      pass: instance.pass!,
      options,
      clock: { epoch, start: when.start, end: when.end, frequency: when.frequency },
      gate: gate === undefined ? common : gate === 'none' ? undefined : gate,
      ...(fallback === undefined ? {} : { fallback }),
      at: must(places, application, 'the place of a policy'),
    };
  });
}
