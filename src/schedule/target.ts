import * as z from 'zod';
import type { Pass } from '../passes/pass.ts';
import { QtoolError } from '../util/error.ts';
import { didYouMean } from '../util/suggest.ts';
import { checkYaml, readYaml, yamlError } from '../util/yaml.ts';
import { isRecord } from './instances.ts';
import type { Schedule, Stage } from './types.ts';

const value = z.union([z.number(), z.string(), z.boolean(), z.null()]);
const limit = z.union([value, z.strictObject({ max: z.number() }), z.strictObject({ min: z.number() })]);

const rule = z.strictObject({
  class: z.string().describe('The class of stages that the rule is about.'),
  set: z
    .record(z.string(), limit)
    .describe('Options that are replaced, or held within { max } or { min }; in overrides of single layers too.')
    .default({}),
  float: z.array(z.string()).describe('Operator types whose layers stay in float.').default([]),
  refuse: z.boolean().describe('Such a stage is an error here.').default(false),
  reason: z.string().min(1).describe('One sentence that the plan and the report show.'),
});

const schema = z.strictObject({
  version: z.literal(1),
  summary: z.string().min(1),
  cpu: z
    .strictObject({ arch: z.string(), with: z.array(z.string()).default([]), without: z.array(z.string()).default([]) })
    .describe('Processors it is: Node.js architecture, and flags of which one must be there or none may be.')
    .optional(),
  rules: z.array(rule),
});

/** What a model is made for: which types, widths and operators to use there, each with its reason. */
export type Target = z.infer<typeof schema> & { readonly name: string };

/** Reads a target file. @throws QtoolError('schedule') with `file:line:col` of what is wrong. */
export function parseTarget(text: string, file: string, name: string, passes: readonly Pass[]): Target {
  const doc = readYaml(text, file, 'schedule');
  const target = checkYaml(doc, schema);
  const classes = passes.flatMap((pass) => pass.classes);
  const problems = target.rules.flatMap(({ class: asked }, i) =>
    classes.includes(asked)
      ? []
      : [{ path: ['rules', i, 'class'], message: `unknown class "${asked}"${didYouMean(asked, classes)}` }],
  );
  if (problems.length > 0) throw yamlError(doc, problems);
  return { ...target, name };
}

/** Whether a processor is one of the target's. `flags` as /proc/cpuinfo lists them. */
export function fits({ cpu }: Target, arch: string, flags: ReadonlySet<string>): boolean {
  if (cpu === undefined || cpu.arch !== arch) return false;
  return (cpu.with.length === 0 || cpu.with.some((f) => flags.has(f))) && !cpu.without.some((f) => flags.has(f));
}

/**
 * The schedule with every stage's options within what the target can do; the notes say what was changed and why.
 * @throws QtoolError('schedule') where the target refuses a stage, or names an option that the class does not have.
 */
export function forTarget(schedule: Schedule, target: Target): Schedule {
  const notes: string[] = [`target ${target.name}: ${target.summary}`];
  const stages = schedule.stages.map((stage) => {
    const rules = target.rules.filter((one) => stage.pass.classes.includes(one.class));
    return rules.reduce((now, one) => applyRule(now, one, target, notes), stage);
  });
  return { ...schedule, stages, notes: [...schedule.notes, ...new Set(notes)] };
}

type Rule = Target['rules'][number];

function applyRule(stage: Stage, one: Rule, target: Target, notes: string[]): Stage {
  if (one.refuse)
    throw new QtoolError('schedule', `${stage.class} is not for ${target.name}: ${one.reason}`, { at: stage.at });
  const changes: string[] = [];
  const options = limited(written(stage.options), one, changes);
  const advice = Object.keys(one.set).length === 0 && one.float.length === 0;
  if (changes.length > 0 || advice)
    notes.push(`target ${target.name}, ${stage.instance}: ${[...changes, one.reason].join('; ')}`);
  const { strength } = stage.pass;
  // A retry must not leave what the target can do either.
  const held = strength && {
    ...strength,
    at: (o: unknown, t: number) => checked(stage, limited(written(strength.at(o, t)), one, [])),
  };
  return { ...stage, options: checked(stage, options), pass: held ? { ...stage.pass, strength: held } : stage.pass };
}

/** Options as a schedule may write them: what was read into more than data, such as a number format, in its own short form. */
function written(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(written);
  if (!isRecord(value)) return value;
  if (typeof value['toJSON'] === 'function') return (value as { toJSON(): unknown }).toJSON();
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, written(one)]));
}

function checked(stage: Stage, options: unknown): unknown {
  const result = stage.pass.options.safeParse(options);
  if (result.success) return result.data;
  const why = result.error.issues[0]?.message;
  throw new QtoolError('schedule', `the target gives ${stage.class} options it does not take: ${why}`, {
    at: stage.at,
  });
}

function limited(options: unknown, { set, float }: Rule, changes: string[]): unknown {
  if (!isRecord(options)) return options;
  const result: Record<string, unknown> = { ...options };
  const hold = (from: Record<string, unknown>, always: boolean, where: string): Record<string, unknown> => {
    const held = { ...from };
    for (const [key, wanted] of Object.entries(set)) {
      const before = from[key];
      if (before === undefined && !always) continue;
      const after = within(before, wanted);
      if (after === before) continue;
      changes.push(`${where}${key} ${shown(before)} → ${shown(after)}`);
      held[key] = after;
    }
    return held;
  };
  Object.assign(result, hold(options, true, ''));
  const overrides = isRecord(options['overrides']) ? { ...options['overrides'] } : {};
  for (const [pattern, own] of Object.entries(overrides))
    if (isRecord(own)) overrides[pattern] = hold(own, false, `${pattern}: `);
  const leave = float.filter((op) => overrides[`op:${op}`] === undefined);
  if (leave.length > 0) changes.push(`${leave.join(', ')} stay in float`);
  // Layers that the schedule names come first, but not its rest ('*'), which would match before these.
  const { '*': rest, ...named } = overrides;
  const off = Object.fromEntries(leave.map((op) => [`op:${op}`, { bits_weights: null }]));
  if (Object.keys(overrides).length > 0 || leave.length > 0)
    result['overrides'] = { ...named, ...off, ...(rest === undefined ? {} : { '*': rest }) };
  return result;
}

/** An option held to what the target wants; `null` (float) is within every bound of a width. */
function within(before: unknown, wanted: z.infer<typeof limit>): unknown {
  if (typeof wanted !== 'object' || wanted === null) return wanted;
  if (typeof before !== 'number') return before;
  return 'max' in wanted ? Math.min(before, wanted.max) : Math.max(before, wanted.min);
}

const shown = (option: unknown): string =>
  option === null ? 'float' : typeof option === 'string' ? option : JSON.stringify(option);
