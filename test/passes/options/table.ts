import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as z from 'zod';
import { encodeModel, type Model } from '../../../src/graph/model.ts';
import { passes } from '../../../src/passes/index.ts';
import type { Pass, PassContext, PassResult } from '../../../src/passes/pass.ts';

/** What a pass is applied to; made anew for each application, since passes remember. */
export type Fixture = () => Promise<{ readonly model: Model; readonly context: PassContext }>;

/**
 * Two values of an option and what else must be said or stand there for them to matter, and whether only the report's words tell of it; or, where nothing of the result can show
 * it, why, as `page.md: words that stand on that page of docs/passes`.
 */
export type Effect =
  | readonly [a: unknown, b: unknown, when?: { readonly with?: object; readonly on?: Fixture; readonly says?: true }]
  | string;

/** A pass: the options that every application has, what it is applied to, and every option by its path. */
export interface PassTable {
  readonly base: object;
  readonly on: Fixture;
  readonly options: Readonly<Record<string, Effect>>;
}

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly anyOf?: readonly Schema[];
}

/** The paths of all options of a schema: `budget.weights`, `overrides.*.per_channel`. */
function optionPaths(pass: Pass): string[] {
  const below = (schema: Schema, path: string): string[] => [
    ...Object.entries(schema.properties ?? {}).flatMap(([key, value]) => leaves(value, `${path}${key}`)),
    ...(typeof schema.additionalProperties === 'object' ? below(schema.additionalProperties, `${path}*.`) : []),
    ...(schema.anyOf ?? []).flatMap((one) => below(one, path)),
  ];
  const leaves = (schema: Schema, path: string): string[] => {
    const inner = below(schema, `${path}.`);
    return inner.length > 0 ? inner : [path];
  };
  const schema = z.toJSONSchema(pass.options, { io: 'input', unrepresentable: 'any' }) as Schema;
  return [...new Set(below(schema, ''))];
}

function withOption(options: unknown, [key = '', ...rest]: readonly string[], value: unknown): object {
  const own = (options ?? {}) as Readonly<Record<string, unknown>>;
  return { ...own, [key]: rest.length === 0 ? value : withOption(own[key], rest, value) };
}

/** What a pass makes, with or without its words about layers. */
function result({ model, preview, plan, changed, skipped }: PassResult, words: boolean): unknown {
  const bytes = (m: Model | undefined) => m && createHash('sha256').update(encodeModel(m)).digest('hex');
  const named = (notes: PassResult['changed']) => notes.map((note) => (words ? note : note.layer));
  return {
    model: bytes(model),
    preview: bytes(preview),
    plan: [...(plan ?? [])],
    on: [named(changed), named(skipped)],
  };
}

/** One test for every option of every pass of such a name: changing it changes what the pass makes. */
export function everyOption(
  family: RegExp,
  table: Readonly<Record<string, PassTable>>,
  apply: (pass: Pass, model: Model, options: unknown, context: PassContext) => Promise<PassResult> = (pass, model, options, context) => pass.apply(model, options, context), // prettier-ignore
): void {
  const all = passes.filter(({ name }) => family.test(name));
  it('has every pass of the family, with every option of its schema', () => {
    const paths = Object.fromEntries(all.map((pass) => [pass.name, optionPaths(pass).sort()]));
    const listed = Object.entries(table).map(([name, { options }]) => [name, Object.keys(options).sort()] as const);
    expect(Object.fromEntries(listed)).toEqual(
      Object.fromEntries(Object.entries(paths).filter(([, p]) => p.length > 0)),
    );
  });
  const cases = Object.entries(table).flatMap(([name, { options }]) =>
    Object.entries(options).map(([path, effect]) => [name, path, effect] as const),
  );
  if (cases.length > 0)
    it.each(cases)('%s %s', async (name, path, effect) => {
      if (typeof effect === 'string') {
        const [page = '', words = ''] = effect.split(/: (.*)/s);
        const text = readFileSync(new URL(`../../../docs/passes/${page}`, import.meta.url), 'utf8');
        expect([page, words, text.replace(/\s+/g, ' ').includes(words)]).toEqual([page, words, true]);
        return;
      }
      const [a, b, when = {}] = effect;
      const { base, on } = table[name] as PassTable;
      const pass = all.find((one) => one.name === name) as Pass;
      const made = async (value: unknown) => {
        const { model, context } = await (when.on ?? on)();
        const options = pass.options.parse(withOption({ ...base, ...when.with }, path.split('.'), value));
        return result(await apply(pass, model, options, context), when.says ?? false);
      };
      expect(await made(a)).not.toEqual(await made(b));
    });
}
