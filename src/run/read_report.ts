import { readFileSync } from 'node:fs';
import * as z from 'zod';
import { QtoolError } from '../util/error.ts';
import { given } from '../util/must.ts';
import { version } from '../util/version.ts';
import type { RunReport } from './report.ts';

/** As much of a JSON Schema as tells numbers from texts. */
interface Shape {
  readonly $ref?: string;
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Shape[];
  readonly items?: Shape | readonly Shape[];
  readonly properties?: Readonly<Record<string, Shape>>;
  readonly additionalProperties?: Shape;
}

/** The shape as it stands in the file, and all that a value of it may be. */
type Alternatives = (shape: Shape | undefined) => readonly Shape[];

/**
 * A run's report from the text of its report.json, checked by the schema that is shipped for it.
 * @throws QtoolError('usage') naming the file, and the first key that is not as it should be.
 */
export function parseReport(text: string, at: string): RunReport {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (cause) {
    const why = (cause as Error).message.replace(/\s+/g, ' ');
    throw new QtoolError('usage', `this is no JSON: ${why}`, { at, hint: 'the file is damaged: run qtool quantize again', cause }); // prettier-ignore
  }
  const { format } = (found ?? {}) as { readonly format?: unknown };
  if (typeof format === 'number' && format > 1)
    throw new QtoolError('usage', `this report is of format ${format}, of a newer qtool; this one (${version}) reads format 1`, { at, hint: 'use the qtool that wrote it, or a newer one' }); // prettier-ignore
  const file = new URL('../../configs/schemas/quantize.schema.json', import.meta.url);
  const read: unknown = JSON.parse(readFileSync(file, 'utf8'));
  const schema = read as Shape & { readonly definitions: Readonly<Record<string, Shape>> };
  const parsed = z.fromJSONSchema(read as z.core.JSONSchema.JSONSchema).safeParse(found);
  if (!parsed.success) {
    const issue = given(parsed.error.issues[0], 'what is wrong');
    const key = issue.path.map(String).join('.');
    throw new QtoolError('usage', `this is no report of a run: ${key === '' ? '' : `${key}: `}${issue.message}`, {
      at,
      hint: 'qtool quantize writes report.json; name the folder of such a run',
    });
  }
  const alternatives: Alternatives = (shape) => {
    const whole = shape?.$ref === undefined ? shape : schema.definitions[shape.$ref.replace('#/definitions/', '')];
    return [...(whole ? [whole] : []), ...(whole?.anyOf ?? []).flatMap(alternatives)];
  };
  return revived(found, alternatives(schema), alternatives) as RunReport;
}

/** What `jsonText` had to write otherwise: numbers that are not finite stand as words, and null where a list holds nothing. */
function revived(value: unknown, shapes: readonly Shape[], of: Alternatives): unknown {
  if (typeof value === 'string') return shapes.some((one) => one.enum?.includes('NaN')) ? Number(value) : value;
  if (value === null && shapes.some(({ type }) => type === 'null')) return undefined;
  if (Array.isArray(value))
    return value.map((one: unknown, i) => {
      const under = shapes.map(({ items }) => [items ?? []].flat());
      return revived(one, under.flatMap((items) => of(items[i] ?? items[0])), of); // prettier-ignore
    });
  if (typeof value !== 'object' || value === null) return value;
  const held = Object.entries(value).map(([key, one]: [string, unknown]) => {
    const under = shapes.flatMap((shape) => of(shape.properties?.[key] ?? shape.additionalProperties));
    return [key, revived(one, under, of)];
  });
  return Object.fromEntries(held) as unknown;
}
