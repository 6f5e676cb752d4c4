import { schemaProblems } from '../util/problems.ts';
import { didYouMean } from '../util/suggest.ts';
import { inspectYaml, type Path, type Problem, type YamlDoc } from '../util/yaml.ts';
import { expandEpochs, once, type When } from './epochs.ts';
import { isRecord, readOptions, type Instance } from './instances.ts';
import {
  policyKeys,
  policySchema,
  sections,
  toFallback,
  toGate,
  trainingPolicyArgs,
  type AnySection,
  type Policy,
} from './language.ts';
import type { Fallback, Gate } from './types.ts';

/** One policy, read: which instance, when, with which options. */
export interface Application {
  readonly instance: Instance;
  readonly when: When;
  /** `none` where the policy turns the schedule's gate off; undefined where it says nothing. */
  readonly gate: Gate | 'none' | undefined;
  readonly fallback: Fallback | undefined;
  readonly options: unknown;
  /** Distiller's arguments that say how masks act between steps of training. */
  readonly maskArgs: Readonly<Record<string, unknown>>;
  /** Options that the policy itself sets. */
  readonly args: Readonly<Record<string, unknown>>;
  /** Where it stands: `policies.<n>.<key>`, or the instance where no policy names it. */
  readonly path: readonly (string | number)[];
}

export interface Policies {
  readonly applications: Application[];
  readonly notes: string[];
}

/** What a policy is read with, and where what is found goes. */
interface Reading extends Policies {
  readonly doc: YamlDoc;
  readonly instances: readonly Instance[];
  readonly problems: Problem[];
}

/** Reads `policies:`. What is wrong is added to `problems`. */
export function readPolicies(doc: YamlDoc, instances: readonly Instance[], problems: Problem[]): Policies {
  const reading: Reading = { doc, instances, problems, applications: [], notes: [] };
  const policies = (doc.value as Record<string, unknown>)['policies'] ?? [];
  if (!Array.isArray(policies)) problems.push({ path: ['policies'], message: 'expected a list of policies' });
  else
    for (const i of policies.keys()) {
      const result = inspectYaml(doc, policySchema, ['policies', i]);
      if (!('value' in result)) problems.push(...result.problems);
      const policy = 'value' in result ? result.value : loosely(policies[i]);
      const target = findInstance(policy, i, reading);
      if (target !== undefined) reading.applications.push(apply(policy, i, target, reading));
    }
  return reading;
}

// A policy with a mistake in it still uses its instance: no second complaint that nobody does.
function loosely(policy: unknown): Policy {
  const keys = Object.values(policyKeys);
  const entries = Object.entries((policy ?? {}) as Record<string, unknown>);
  const usable = entries.filter(
    ([key, value]) =>
      (keys as readonly string[]).includes(key) &&
      typeof (value as { instance_name?: unknown } | null)?.instance_name === 'string',
  );
  return { ...Object.fromEntries(usable), epochs: [0] };
}

interface Named {
  readonly instance: Instance;
  readonly section: AnySection;
}

function findInstance(policy: Policy, index: number, { instances, problems }: Reading): Named | undefined {
  const path = ['policies', index];
  const named = sections.filter((section) => policy[policyKeys[section]] !== undefined);
  const [section, ...more] = named;
  if (section === undefined) {
    if (!problems.some((p) => p.path[0] === 'policies' && p.path[1] === index))
      problems.push({ path, message: `names no instance: one of ${Object.values(policyKeys).join(', ')} is needed` });
    return undefined;
  }
  for (const other of more)
    problems.push({
      path: [...path, policyKeys[other]],
      message: `a policy applies one instance, and this one has ${policyKeys[section]} already`,
      on: 'key',
    });
  const name = policy[policyKeys[section]]!.instance_name;
  const instance = instances.find((other) => other.section === section && other.name === name);
  if (instance !== undefined) return { instance, section };
  const elsewhere = instances.find((other) => other.name === name);
  const known = instances.filter((other) => other.section === section).map((other) => other.name);
  problems.push({
    path: [...path, policyKeys[section], 'instance_name'],
    message: elsewhere
      ? `${name} is an instance of ${elsewhere.section}: write "${policyKeys[elsewhere.section]}:"`
      : `${section} has no instance "${name}"${didYouMean(name, known) || (known.length > 0 ? `; it has: ${known.join(', ')}` : '')}`,
  });
  return undefined;
}

function apply(policy: Policy, index: number, { instance, section }: Named, reading: Reading): Application {
  const { doc, problems, notes } = reading;
  const here = ['policies', index] as const;
  const path = [...here, policyKeys[section]];
  const expanded = expandEpochs(policy);
  if ('problems' in expanded) problems.push(...expanded.problems.map((p) => ({ ...p, path: [...here, ...p.path] })));
  let when = 'when' in expanded ? expanded.when : once(0);
  if (
    section === 'quantizers' &&
    instance.pass !== undefined &&
    instance.pass.learns !== true &&
    policy.epochs === undefined &&
    when.epochs.length > 1
  ) {
    // Distiller's quantizers are installed once, at the start of their policy.
    notes.push(
      `${doc.at(path, 'key')}: post-training quantization happens once: ${instance.name} runs at epoch ${when.start}`,
    );
    when = once(when.start);
  }
  if (policy.gate !== undefined && instance.pass === undefined && instance.class !== undefined)
    problems.push({
      path: [...here, 'gate'],
      message: `a gate judges a stage, and ${instance.class} makes none`,
      on: 'key',
    });
  const gate = policy.gate === undefined ? undefined : (toGate(policy.gate) ?? 'none');
  const args = policy[policyKeys[section]]?.args ?? {};
  const own = checkArgs(instance, args, [...path, 'args'], reading);
  const asked = section === 'quantizers' ? policy.quantizer?.fallback : undefined;
  if (asked !== undefined && instance.pass !== undefined && isRecord(own.options) && !('overrides' in own.options))
    problems.push({
      path: [...path, 'fallback'],
      message: `raises single layers, and ${instance.class} has no overrides`,
      on: 'key',
    });
  const fallback = asked === undefined ? undefined : toFallback(asked);
  return { instance, when, gate, fallback, path, args: own.args, maskArgs: own.maskArgs, options: own.options };
}

/** Splits a policy's arguments into options of the class and Distiller's, which act in training. */
function checkArgs(
  instance: Instance,
  given: Application['args'],
  path: Path,
  { problems }: Reading,
): Pick<Application, 'options' | 'args' | 'maskArgs'> {
  const args: Record<string, unknown> = {};
  const maskArgs: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(given)) {
    const schema = trainingPolicyArgs[instance.section]?.[key];
    if (schema === undefined) args[key] = value;
    else {
      const result = schema.safeParse(value);
      const issues = result.success ? [] : schemaProblems(schema, value, result.error.issues);
      problems.push(...issues.map((p) => ({ ...p, path: [...path, key, ...p.path] })));
      maskArgs[key] = value;
    }
  }
  if (instance.reads === undefined || instance.options === undefined || Object.keys(args).length === 0)
    return { options: instance.options, args, maskArgs };
  const merged = { ...instance.written, ...args };
  const place = (below: Path): Path => (String(below[0]) in args ? [...path, ...below] : [...instance.path, ...below]);
  return { options: readOptions(instance.reads, merged, path, problems, place).options, args, maskArgs };
}
