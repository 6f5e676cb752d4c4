import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, visit } from 'yaml';
import type { Document, Node } from 'yaml';
import type * as z from 'zod';
import { QtoolError, type ErrorCode } from './error.ts';
import { schemaProblems, valueAt, type Path, type Problem } from './problems.ts';

export type { Path, Problem } from './problems.ts';

/** A parsed YAML file that knows where everything stands. */
export interface YamlDoc {
  readonly file: string;
  /** The code that errors about this file carry. */
  readonly code: ErrorCode;
  /** Plain JavaScript data. Keys that look like whole numbers come first in it, as JavaScript has it: see `keys`. */
  readonly value: unknown;
  /** `file:line:col` of a value (or of its key); where it does not exist, of the nearest thing around it. */
  at(path: Path, on?: 'key' | 'value'): string;
  /** The keys of the mapping at `path` in the order of the file; empty where there is no mapping. */
  keys(path: Path): readonly string[];
}

type Step = { readonly key?: Node; readonly value?: Node };

function step(node: unknown, key: PropertyKey): Step | undefined {
  if (isMap(node)) {
    const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(key));
    return pair === undefined ? undefined : { key: pair.key as Node, value: (pair.value ?? pair.key) as Node };
  }
  if (isSeq(node)) {
    const item = node.items[Number(key)];
    return item === undefined ? undefined : { value: item as Node };
  }
  return undefined;
}

function locate(doc: Document, path: Path, on: 'key' | 'value'): number {
  let node: unknown = doc.contents;
  let offset = doc.contents?.range?.[0] ?? 0;
  for (const [i, key] of path.entries()) {
    if (isAlias(node)) node = node.resolve(doc);
    const next = step(node, key);
    if (next === undefined) return offset;
    const last = i === path.length - 1;
    const shown = last && on === 'key' ? (next.key ?? next.value) : next.value;
    offset = shown?.range?.[0] ?? offset;
    node = next.value;
  }
  return offset;
}

interface Parsed {
  readonly doc: ReturnType<typeof parseDocument>;
  /** Line and column, from 1, of an offset into the parsed text. */
  readonly place: (offset: number) => { readonly line: number; readonly col: number };
  readonly wrong: readonly { readonly pos: readonly [number, number]; readonly message: string }[];
}

function parse(text: string, indented: ReadonlySet<number> = new Set(), by = 0): Parsed {
  const lines = new LineCounter();
  const doc = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false, merge: true });
  const place: Parsed['place'] = (offset) => {
    const { line, col } = lines.linePos(offset);
    return { line, col: indented.has(line) ? Math.max(1, col - by) : col };
  };
  return { doc, place, wrong: [...doc.errors, ...doc.warnings] };
}

// Quoted text, comments, block scalars, the brackets of flow collections, the ends of lines: all else is skipped.
const marks = new RegExp(
  [
    /(?<![^\s[\]{},])(?:"(?:[^"\\]|\\[^])*"|'(?:[^']|'')*')/,
    /(?<!\S)#[^\n]*/,
    /(?<=[:?-] )[|>][-+\d]*[ \t]*(?:#[^\n]*)?\n(?:[ \t]*\n)*(?<first> +)[^\n]*(?:\n(?:\k<first>[^\n]*|[ \t]*$))*/,
    /(?<begin>(?<=^[ \t]*|[:?-][ \t]+|[&!]\S*[ \t]+)[[{])/,
    /(?<open>[[{])|(?<close>[\]}])|\n/,
  ]
    .map(({ source }) => source)
    .join('|'),
  'gm',
);

/**
 * Parses text whose lines inside brackets and quotes are indented too little, which PyYAML takes (Distiller's files close a list below its
 * key) and YAML 1.2 does not: those lines are indented further before they are parsed, and their columns counted back.
 */
function parseIndented(text: string): Parsed {
  const by = 1 + text.split('\n').reduce((most, line) => Math.max(most, line.search(/[^\s?-]|$/)), 0);
  const indented = new Set<number>();
  let [depth, line] = [0, 1];
  const wider = text.replace(marks, (mark: string, ...rest: unknown[]) => {
    const { begin, open, close } = rest.at(-1) as Readonly<Record<string, string | undefined>>;
    if (begin !== undefined || (open !== undefined && depth > 0)) depth++;
    else if (close !== undefined && depth > 0) depth--;
    const inside = depth > 0 || /^["']/.test(mark);
    return mark.replace(/\n/g, (end) => {
      line++;
      if (inside) indented.add(line);
      return inside ? end + ' '.repeat(by) : end;
    });
  });
  return parse(wider, indented, by);
}

/**
 * Parses YAML 1.2 (with `<<` merge keys, and brackets indented as loosely as PyYAML has them). Errors: QtoolError with
 * `file:line:col` for a syntax error, a duplicate key, an unknown tag or alias, more than one document, an empty file.
 */
export function readYaml(text: string, file: string, code: ErrorCode = 'usage'): YamlDoc {
  const strict = parse(text);
  const loose = strict.wrong.length > 0 ? parseIndented(text) : strict;
  const { doc, place: position, wrong } = loose.wrong.length < strict.wrong.length ? loose : strict;
  const place = (offset: number): string => {
    const { line, col } = position(offset);
    return `${file}:${line}:${col}`;
  };
  if (wrong.length > 0)
    throw summary(
      code,
      file,
      wrong.map((e) => [place(e.pos[0]), e.message.split('\n')[0] ?? '']),
    );
  visit(doc, {
    Alias(_, alias) {
      if (alias.resolve(doc) === undefined) {
        const hint = 'An alias `*name` needs an anchor `&name` before it; quote patterns that begin with a star.';
        throw new QtoolError(code, `nothing is called "${alias.source}"`, { at: place(alias.range?.[0] ?? 0), hint });
      }
    },
  });
  if (doc.contents === null) throw new QtoolError(code, 'the file is empty', { at: file });
  let value: unknown;
  try {
    value = doc.toJS({ maxAliasCount: 100 });
  } catch (cause) {
    throw new QtoolError(code, cause instanceof Error ? cause.message : String(cause), { at: file, cause });
  }
  return {
    file,
    code,
    value,
    at: (path, on = 'value') => place(locate(doc, path, on)),
    keys(path) {
      let node: unknown = doc.contents;
      for (const key of path) {
        node = step(node, key)?.value;
        if (isAlias(node)) node = node.resolve(doc);
      }
      return isMap(node) ? node.items.map((item) => (isScalar(item.key) ? String(item.key.value) : '')) : [];
    },
  };
}

function summary(
  code: ErrorCode,
  file: string,
  found: readonly (readonly [at: string, message: string])[],
): QtoolError {
  const [first] = found;
  if (first !== undefined && found.length === 1) return new QtoolError(code, first[1], { at: first[0] });
  const lines = found.map(([at, message]) => `  ${at} ${message}`);
  return new QtoolError(code, `${found.length} problems in ${file}:\n${lines.join('\n')}`);
}

/** One error for all problems, in the order of the file: a single one carries its place in `at`, several are listed a line each. */
export function yamlError(doc: YamlDoc, problems: readonly Problem[]): QtoolError {
  const found = problems.map(({ path, message, on }) => {
    const name = path.map(String).join('.');
    return [doc.at(path, on), name === '' ? message : `${name}: ${message}`] as const;
  });
  const rank = (at: string): number[] => at.slice(doc.file.length + 1).split(':').map(Number); // prettier-ignore
  const order = found
    .map((entry) => ({ entry, rank: rank(entry[0]) }))
    .sort((a, b) => a.rank[0]! - b.rank[0]! || a.rank[1]! - b.rank[1]!);
  return summary(doc.code, doc.file, order.map(({ entry }) => entry)); // prettier-ignore
}

/** Checks the part of a document at `path` (all of it by default) against a schema, without throwing. */
export function inspectYaml<T>(
  doc: YamlDoc,
  schema: z.ZodType<T>,
  path: Path = [],
): { readonly value: T; readonly problems: readonly [] } | { readonly problems: readonly Problem[] } {
  const part = valueAt(doc.value, path);
  const result = schema.safeParse(part);
  if (result.success) return { value: result.data, problems: [] };
  const problems = schemaProblems(schema, part, result.error.issues);
  return { problems: problems.map((problem) => ({ ...problem, path: [...path, ...problem.path] })) };
}

/**
 * As `inspectYaml`, but throws what is wrong as one QtoolError: `file:line:col key.path: message (did you mean "x"?)`. Unknown
 * keys are reported at the key, wrong values at the value, missing keys at the mapping that should hold them.
 */
export function checkYaml<T>(doc: YamlDoc, schema: z.ZodType<T>, path: Path = []): T {
  const result = inspectYaml(doc, schema, path);
  if ('value' in result) return result.value;
  throw yamlError(doc, result.problems);
}
