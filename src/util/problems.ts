import type * as z from 'zod';
import { didYouMean } from './suggest.ts';

/** Keys and indexes from the top of a document to a value. */
export type Path = readonly PropertyKey[];

/** Something wrong at one place of a document; `on: 'key'` points at the key instead of its value. */
export interface Problem {
  readonly path: Path;
  readonly message: string;
  readonly on?: 'key' | 'value';
}

/** The value at a path of plain data; undefined where there is none. */
export function valueAt(value: unknown, path: Path): unknown {
  let here = value;
  for (const key of path) {
    if (typeof here !== 'object' || here === null || !Object.hasOwn(here, key)) return undefined;
    here = (here as Record<PropertyKey, unknown>)[key];
  }
  return here;
}

/** zod's issues as sentences for the person who wrote the file, with the nearest known key or value where a name is unknown. */
export function schemaProblems(schema: z.ZodType, input: unknown, issues: readonly z.core.$ZodIssue[]): Problem[] {
  const problems = issues.flatMap((issue) => problemsOf(schema, input, issue, []));
  // A misspelt key is one mistake: that the right one is missing goes without saying.
  const meant = new Set(
    problems.flatMap(({ path, message }) => {
      const name = /^unknown key \(did you mean "(.+)"\?\)$/.exec(message)?.[1];
      return name === undefined ? [] : [JSON.stringify([...path.slice(0, -1), name])];
    }),
  );
  return problems.filter(({ path, message }) => !message.startsWith('is missing') || !meant.has(JSON.stringify(path)));
}

function problemsOf(schema: Schema, input: unknown, issue: z.core.$ZodIssue, base: Path): Problem[] {
  const path = [...base, ...issue.path];
  const value = valueAt(input, path);
  const one = (message: string): Problem[] => [{ path, message }];
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = keysAt(schema, input, path);
      return issue.keys.map((key) => ({
        path: [...path, key],
        message: `unknown key${didYouMean(key, known) || (known.length > 0 ? `; known: ${list(known)}` : '')}`,
        on: 'key',
      }));
    }
    case 'invalid_type':
      return one(
        value === undefined
          ? `is missing: ${kind(issue.expected)}`
          : `expected ${kind(issue.expected)}, got ${show(value)}`,
      );
    case 'invalid_value':
      return one(notOneOf(value, issue.values));
    case 'invalid_union':
      return unionProblems(schema, input, issue, path);
    case 'too_small':
    case 'too_big': {
      const [bound, words] =
        issue.code === 'too_small'
          ? ([issue.minimum, ['at least', 'more than']] as const)
          : ([issue.maximum, ['at most', 'less than']] as const);
      const limit = `${words[issue.inclusive === false ? 1 : 0]} ${bound}`;
      if (issue.origin === 'array') return one(`must have ${limit} entries`);
      if (issue.origin === 'string') return one(bound === 1 ? 'must not be empty' : `must have ${limit} characters`);
      return one(`must be ${limit}, is ${show(value)}`);
    }
    case 'invalid_key': {
      const inner = issue.issues[0];
      const name = String(path.at(-1));
      const message =
        inner?.code === 'invalid_value' ? notOneOf(name, inner.values) : (inner?.message ?? issue.message);
      return [{ path, message, on: 'key' }];
    }
    default:
      return one(issue.message);
  }
}

function unionProblems(schema: Schema, input: unknown, issue: z.core.$ZodIssueInvalidUnion, path: Path): Problem[] {
  const value = valueAt(input, path);
  if (issue.discriminator !== undefined && issue.errors.length === 0) {
    // zod puts the path on the discriminating key itself.
    const options = 'options' in issue && issue.options ? issue.options : [];
    return [{ path, message: notOneOf(value, options) }];
  }
  const wrongKind = (branch: readonly z.core.$ZodIssue[]): boolean =>
    branch.some(
      (i) =>
        i.path.length === 0 &&
        (i.code === 'invalid_type' ||
          i.code === 'invalid_value' ||
          (i.code === 'invalid_union' && i.errors.length > 0 && i.errors.every(wrongKind))),
    );
  const candidates = issue.errors.filter((branch) => branch.length > 0 && !wrongKind(branch));
  if (candidates.length === 0) return [{ path, message: noBranch(value, issue.errors.flat()) }];
  // The branch that was meant is the one whose fixed values (`class: X`) agree, then the one with the least to mend.
  const score = (branch: readonly z.core.$ZodIssue[]): number =>
    branch.length + branch.filter((i) => i.code === 'invalid_value' && i.path.length === 1).length * 100;
  const best = candidates.reduce((a, b) => (score(b) < score(a) ? b : a));
  return best.flatMap((inner) => problemsOf(schema, input, inner, path));
}

function noBranch(value: unknown, given: readonly z.core.$ZodIssue[]): string {
  const issues = leaves(given);
  const values = issues.flatMap((i) => (i.code === 'invalid_value' ? i.values : []));
  const kinds = issues.flatMap((i) => (i.code === 'invalid_type' ? [kind(i.expected)] : []));
  if (kinds.length === 0 && values.length > 0) return notOneOf(value, values);
  const wanted = [...new Set([...kinds, ...values.map((v) => show(v))])].join(' or ');
  const near = typeof value === 'string' ? didYouMean(value, values.map(String)) : '';
  return value === undefined ? `is missing: ${wanted}` : `expected ${wanted}, got ${show(value)}${near}`;
}

/** What stands in unions within unions. */
const leaves = (issues: readonly z.core.$ZodIssue[]): z.core.$ZodIssue[] =>
  issues.flatMap((i) => (i.code === 'invalid_union' ? leaves(i.errors.flat()) : [i]));

function notOneOf(value: unknown, values: readonly unknown[]): string {
  const known = list(values.map((v) => (typeof v === 'string' ? v : show(v))));
  if (value === undefined) return `is missing: ${values.length === 1 ? known : `one of ${known}`}`;
  const near = typeof value === 'string' ? didYouMean(value, values.map(String)) : '';
  return `${values.length === 1 ? `expected ${known}, got ${show(value)}` : `${show(value)} is not one of ${known}`}${near}`;
}

const kinds: Readonly<Record<string, string>> = {
  number: 'a number',
  int: 'a whole number',
  string: 'a text',
  boolean: 'true or false',
  array: 'a list',
  tuple: 'a list',
  object: 'a mapping',
  record: 'a mapping',
};
const kind = (expected: string): string => kinds[expected] ?? expected;

function show(value: unknown): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'string') return `"${value.length > 60 ? `${value.slice(0, 57)}...` : value}"`;
  return typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint'
    ? String(value)
    : 'a mapping';
}

function list(names: readonly string[]): string {
  const shown = names.slice(0, 16).join(', ');
  return names.length > 16 ? `${shown}, ...` : shown;
}

// What this file reads of a zod schema's definition.
type Schema = z.core.$ZodType;
interface Def {
  readonly type: string;
  readonly shape?: Readonly<Record<string, Schema>>;
  readonly innerType?: Schema;
  readonly element?: Schema;
  readonly keyType?: Schema;
  readonly valueType?: Schema;
  readonly options?: readonly Schema[];
  readonly in?: Schema;
  readonly getter?: () => Schema;
  readonly left?: Schema;
  readonly right?: Schema;
  readonly items?: readonly Schema[];
  readonly values?: readonly unknown[];
  readonly entries?: Readonly<Record<string, unknown>>;
}
const defOf = (schema: Schema): Def => schema._zod.def;

/** The schema without its wrappers; a union as its options, of which those that contradict a fixed value of `value` are left out. */
function concrete(schema: Schema, value: unknown): Def[] {
  const def = defOf(schema);
  if (def.innerType) return concrete(def.innerType, value);
  if (def.type === 'pipe' && def.in) return concrete(def.in, value);
  if (def.getter) return concrete(def.getter(), value);
  if (def.left && def.right) return [...concrete(def.left, value), ...concrete(def.right, value)];
  if (!def.options) return [def];
  const all = def.options.flatMap((option) => concrete(option, value));
  const agreeing = all.filter((option) =>
    Object.entries(option.shape ?? {}).every(([key, inner]) => {
      const fixed = defOf(inner);
      const given = valueAt(value, [key]);
      return fixed.type !== 'literal' || given === undefined || fixed.values?.includes(given) === true;
    }),
  );
  return agreeing.length > 0 ? agreeing : all;
}

function keysAt(schema: Schema, input: unknown, path: Path): string[] {
  let defs = concrete(schema, input);
  let value = input;
  for (const key of path) {
    value = valueAt(value, [key]);
    defs = defs
      .map((def) => def.shape?.[String(key)] ?? def.element ?? def.valueType ?? def.items?.[Number(key)])
      .flatMap((inner) => (inner === undefined ? [] : concrete(inner, value)));
  }
  const named = defs.flatMap((def) => [
    ...Object.keys(def.shape ?? {}),
    ...(def.keyType ? concrete(def.keyType, undefined).flatMap((k) => Object.values(k.entries ?? {}).map(String)) : []),
  ]);
  return [...new Set(named)];
}
