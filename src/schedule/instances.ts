import type * as z from 'zod';
import type { Pass } from '../passes/pass.ts';
import { schemaProblems } from '../util/problems.ts';
import { didYouMean } from '../util/suggest.ts';
import type { Path, Problem, YamlDoc } from '../util/yaml.ts';
import type { LrKind, RegularizerKind } from '../passes/train/kinds.ts';
import { lrKinds } from '../passes/train/lr/index.ts';
import { regularizerKinds } from '../passes/train/regularize/index.ts';
import { missingClasses } from './distiller.ts';
import { isRunning, sections, type AnySection } from './language.ts';

/** What a class's options are checked by. */
type Reader = Pick<Pass, 'options' | 'otherForm'>;

/** A named object of a section. One that could not be read has `class: undefined`, so that its policies are still checked. */
export interface Instance {
  readonly section: AnySection;
  readonly name: string;
  readonly path: readonly [AnySection, string];
  readonly class: string | undefined;
  readonly pass: Pass | undefined;
  /** A learning rate or a regularizer: it acts on epochs of training. */
  readonly kind: LrKind | RegularizerKind | undefined;
  /** What checks its options; undefined where it could not be read. */
  readonly reads: Reader | undefined;
  /** As written, without `class`. */
  readonly written: Readonly<Record<string, unknown>>;
  /** Checked, with defaults. */
  readonly options: unknown;
  /** What arguments of another tool's form mean here, a sentence each. */
  readonly notes: readonly string[];
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Reads all sections. What is wrong is added to `problems`. */
export function readInstances(doc: YamlDoc, passes: readonly Pass[], problems: Problem[]): Instance[] {
  const found: Instance[] = [];
  const owner = new Map<string, AnySection>();
  for (const section of sections) {
    const part = (doc.value as Record<string, unknown>)[section];
    if (part === undefined || part === null) continue;
    if (!isRecord(part)) {
      problems.push({ path: [section], message: 'expected a mapping of instance names to classes' });
      continue;
    }
    for (const name of Object.keys(part)) {
      const before = owner.get(name);
      if (before !== undefined && isRunning(section))
        problems.push({ path: [section, name], message: `${before} has an instance of this name too`, on: 'key' });
      owner.set(name, section);
      found.push(readInstance(section, name, part[name], passes, problems));
    }
  }
  return found;
}

const unread = { class: undefined, pass: undefined, kind: undefined, reads: undefined, written: {}, options: {}, notes: [] }; // prettier-ignore

function readInstance(
  section: AnySection,
  name: string,
  value: unknown,
  passes: readonly Pass[],
  problems: Problem[],
): Instance {
  const path = [section, name] as const;
  const broken = { section, name, path, ...unread };
  if (!isRecord(value)) {
    problems.push({ path, message: 'expected a mapping: class and its options' });
    return broken;
  }
  const { class: className, ...written } = value;
  const known = (): string[] => classesOf(section, passes);
  if (typeof className !== 'string') {
    const message =
      className === undefined ? `is missing: one of ${known().join(', ')}` : 'expected the name of a class';
    problems.push({ path: [...path, 'class'], message });
    return broken;
  }
  const pass = passes.find((p) => p.classes.includes(className));
  const kind = pass ? undefined : kindOf(className);
  const home = pass?.section ?? (kind && sectionOf(kind));
  if (home !== section) {
    problems.push({ path: [...path, 'class'], message: misplaced(className, section, home, known()) });
    return broken;
  }
  const reads: Reader | undefined = pass ?? kind;
  const read = reads && readOptions(reads, written, path, problems);
  return { ...broken, ...read, class: className, pass, kind, reads, written };
}

const kindOf = (name: string): LrKind | RegularizerKind | undefined =>
  lrKinds.find(({ classes }) => classes.includes(name)) ??
  regularizerKinds.find(({ classes }) => classes.includes(name));

export const sectionOf = (kind: LrKind | RegularizerKind): AnySection =>
  'regimes' in kind ? 'regularizers' : 'lr_schedulers';

/** The options of a class, in its own form or in another tool's. Problems as `checkOptions` tells them. */
export function readOptions(
  pass: Reader,
  written: Readonly<Record<string, unknown>>,
  path: Path,
  problems: Problem[],
  place?: (below: Path) => Path,
): { readonly options: unknown; readonly notes: readonly string[] } {
  const { otherForm } = pass;
  const foreign = keysOf(written).find((key) => otherForm?.keys.includes(key));
  if (!otherForm || foreign === undefined)
    return { options: checkOptions(pass.options, written, path, problems, place), notes: [] };
  const wrong: Problem[] = [];
  const given = checkOptions(otherForm.options, written, path, wrong, place);
  // Who has written qtool's own options and one of Distiller's words would not know why they are refused.
  const why = `"${foreign}" stands here, so these are read as Distiller's arguments: `;
  problems.push(...wrong.map((problem) => ({ ...problem, message: why + problem.message })));
  if (given === undefined) return { options: undefined, notes: [] };
  const { options, notes } = otherForm.toOptions(given);
  return { options: checkOptions(pass.options, options, path, problems, place), notes };
}

function misplaced(name: string, section: AnySection, home: AnySection | undefined, known: readonly string[]): string {
  if (home !== undefined) return `${name} is a class of ${home}, not of ${section}`;
  if (missingClasses.includes(name)) return `${name} is a class of Distiller that this version does not have`;
  const near = didYouMean(name, known);
  return `unknown class "${name}"${near || (known.length > 0 ? `; known: ${known.join(', ')}` : '')}`;
}

/** The class names a section may use. */
function classesOf(section: AnySection, passes: readonly Pass[]): string[] {
  const running = passes.filter((pass) => pass.section === section).flatMap((pass) => pass.classes);
  const kinds = [...lrKinds, ...regularizerKinds].filter((kind) => sectionOf(kind) === section);
  return [...new Set([...running, ...kinds.flatMap(({ classes }) => classes)])];
}

/** The keys of options, and those of their overrides. */
function keysOf(written: Readonly<Record<string, unknown>>): string[] {
  const { overrides } = written;
  const entries = isRecord(overrides) ? Object.values(overrides).filter(isRecord) : [];
  return [written, ...entries].flatMap((entry) => Object.keys(entry));
}

/** Checks the options of a class; problems are told below `path`, or where `place` says that they stand. */
function checkOptions(
  schema: z.ZodType,
  written: Readonly<Record<string, unknown>>,
  path: Path,
  problems: Problem[],
  place: (below: Path) => Path = (below) => [...path, ...below],
): unknown {
  const result = schema.safeParse(written);
  if (result.success) return result.data;
  const found = schemaProblems(schema, written, result.error.issues);
  problems.push(...found.map((problem) => ({ ...problem, path: place(problem.path) })));
  return undefined;
}
