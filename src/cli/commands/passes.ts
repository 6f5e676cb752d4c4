import * as z from 'zod';
import { passes } from '../../passes/index.ts';
import { meanings } from '../../passes/meanings.ts';
import type { Pass } from '../../passes/pass.ts';
import { hanging, wrap } from '../../report/format.ts';
import { gap, table } from '../../report/table.ts';
import { exampleSchedule } from '../../schedule/example.ts';
import { QtoolError } from '../../util/error.ts';
import { didYouMean } from '../../util/suggest.ts';
import type { Call, CommonOptions } from '../call.ts';
import { exit } from '../errors.ts';

export interface PassesReport {
  readonly format: 1;
  readonly passes: readonly PassFacts[];
}

/** A pass: the classes a schedule may name, what it does, where the method is from, a schedule with it. */
interface PassFacts {
  readonly name: string;
  readonly section: string;
  readonly classes: readonly string[];
  readonly summary: string;
  readonly source: string;
  readonly options: readonly PassOption[];
  readonly example: string;
}

interface PassOption {
  readonly name: string;
  /** In words. */
  readonly type: string;
  readonly required: boolean;
  readonly default: unknown;
  readonly description: string;
}

/** `qtool passes [class]`: what a schedule may name; with a class or pass name, everything about that one. */
export async function listPasses(name: string | undefined, _: CommonOptions, call: Call): Promise<number> {
  const shown =
    name === undefined ? passes : passes.filter((pass) => pass.name === name || pass.classes.includes(name));
  if (name !== undefined && shown.length === 0) {
    const known = passes.flatMap((pass) => [...pass.classes, pass.name]);
    const classes = passes.flatMap((pass) => pass.classes);
    const like = classes.filter((one) => one.toLowerCase().includes(name.toLowerCase())).slice(0, 6);
    throw new QtoolError('usage', `no pass is called "${name}"${didYouMean(name, known)}`, {
      hint: like.length > 0 ? `near are: ${like.join(', ')}` : 'qtool passes lists all, qtool schedules the schedules',
    });
  }
  call.answer({ format: 1, passes: shown.map(passObject) }, () =>
    name === undefined ? listText(call) : shown.map((pass) => passText(pass, call)).join('\n\n'),
  );
  return exit.ok;
}

function listText({ paint, width }: Call): string {
  const sections = [...new Set(passes.map((pass) => pass.section))];
  const blocks = sections.map((section) => {
    const rows = passes
      .filter((pass) => pass.section === section)
      .flatMap((pass) => [hanging(`  ${pass.classes[0] ?? pass.name}  `, `${pass.summary} (${pass.name})`, width)]);
    return [paint.bold(section), ...rows].join('\n');
  });
  return [...blocks, paint.dim('qtool explain <class> shows the options of one.')].join('\n\n');
}

function passText(pass: Pass, { paint, width }: Call): string {
  const known = optionsOf(pass);
  const facts = known.map((option) => [
    option.name,
    wrap(option.type, width < 100 ? 22 : 36).join('\n'),
    option.required
      ? 'required'
      : option.default === undefined
        ? ''
        : wrap(JSON.stringify(option.default), width < 100 ? 12 : 20).join('\n'),
  ]);
  const longest = (text: string): number => Math.max(...text.split('\n').map((line) => line.length));
  const used = [0, 1, 2].map((i) => gap + Math.max(8, ...facts.map((row) => longest(row[i] ?? ''))));
  const room = Math.max(24, width - used.reduce((a, b) => a + b, 0));
  const rows = facts.map((row, i) => [...row, wrap(known[i]?.description ?? '', room).join('\n')]);
  const head = [
    `${paint.bold(pass.classes[0] ?? pass.name)} ${paint.dim(`(${pass.section})`)}`,
    hanging('  ', pass.summary, width),
    ...(pass.classes.length > 1 ? [hanging('  also called  ', pass.classes.slice(1).join(', '), width)] : []),
    hanging('  source code  ', `src/passes/${pass.file ?? pass.name}.ts of the repository`, width),
    hanging('  method       ', pass.source, width),
  ];
  const columns = ['option', 'type', 'default', 'meaning'].map((title) => ({ title }));
  const example = [
    paint.bold('a schedule with it'),
    ...exampleSchedule(pass)
      .split('\n')
      .map((line) => `  ${line}`),
  ];
  const options = rows.length === 0 ? '  no options' : table(columns, rows, paint);
  return [head.join('\n'), options, example.join('\n')].join('\n\n');
}

function passObject(pass: Pass): PassFacts {
  const { name, section, classes, summary, source } = pass;
  return { name, section, classes, summary, source, options: optionsOf(pass), example: `${exampleSchedule(pass)}\n` };
}

type JsonSchema = z.core.JSONSchema.BaseSchema;

/** The options as the pass's schema has them. */
function optionsOf(pass: Pass): PassOption[] {
  const schema = z.toJSONSchema(pass.options, { io: 'input', unrepresentable: 'any' });
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).map(([name, value]) => {
    const option = value as JsonSchema;
    return {
      name,
      type: typeText(option),
      required: required.has(name),
      default: option.default ?? defaultOf(pass, name),
      description: option.description ?? meanings[name] ?? '',
    };
  });
}

/** The default of an option whose schema makes another value of it, which a JSON Schema does not show. */
function defaultOf(pass: Pass, name: string): unknown {
  if (!(pass.options instanceof z.ZodObject)) return undefined;
  const option = pass.options.shape[name] as z.ZodType | undefined;
  const read = option?.safeParse(undefined);
  return read?.success === true ? read.data : undefined;
}

function typeText(schema: JsonSchema): string {
  if (schema.enum) return schema.enum.map(String).join(' | ');
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return [...new Set(choices.map((choice) => typeText(choice)))].join(' | ');
  if (schema.type === 'array') return `[${schema.items ? typeText(schema.items as JsonSchema) : ''}]`;
  if (schema.type === 'object') return objectText(schema);
  if (schema.type !== 'number' && schema.type !== 'integer') return String(schema.type ?? 'anything');
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
  const low = minimum ?? exclusiveMinimum;
  const high = maximum ?? exclusiveMaximum;
  // zod gives every integer the bounds of a safe one.
  const bounded = [low, high].map((bound) =>
    bound === undefined || Math.abs(Number(bound)) >= 2 ** 53 - 1 ? '' : String(bound),
  );
  const range = bounded.join('') === '' ? '' : ` ${bounded.join('..')}`;
  return `${schema.type}${range}`;
}

function objectText(schema: JsonSchema): string {
  const keys = Object.keys(schema.properties ?? {});
  if (keys.length > 0) return `{${keys.join(', ')}}`;
  const values = schema.additionalProperties;
  return typeof values === 'object' ? `{name: ${typeText(values)}}` : 'mapping';
}
