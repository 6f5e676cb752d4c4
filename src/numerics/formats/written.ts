import * as z from 'zod';
import { didYouMean } from '../../util/suggest.ts';
import { schemaProblems } from '../../util/problems.ts';
import type { BoundFormat } from './format.ts';
import { formats, type ListedFormat } from './index.ts';

/** A format with its options as a mapping: `{ name: minifloat, exponent: 4, mantissa: 3 }`. */
const mapping = z.discriminatedUnion(
  'name',
  formats.map(({ name, options, summary }) =>
    z.strictObject({ name: z.literal(name), ...options.shape }).meta({ description: summary }),
  ) as [z.ZodObject<{ name: z.ZodLiteral<string> }>, ...z.ZodObject<{ name: z.ZodLiteral<string> }>[]],
);

/**
 * A number format as a schedule writes it: its name (`nf4`), its name and options in one word (`minifloat:exponent=4,mantissa=3`), `int4` for
 * int with 4 bits, or a mapping with `name`.
 */
export const writtenFormat = z
  .union([z.string(), mapping])
  .transform((written, ctx): BoundFormat => {
    const twice = typeof written === 'string' ? repeated(written) : undefined;
    if (twice !== undefined) return refused(ctx, `${written as string}: ${twice} is given twice`);
    const { name, ...given } = typeof written === 'string' ? taken(written) : written;
    const format = formats.find((one) => one.name === name);
    if (!format) return refused(ctx, unknown(name));
    const checked = format.options.safeParse(given);
    if (checked.success) return format.bound(checked.data as never);
    return refused(ctx, problemsOf(format, given, checked.error));
  })
  .meta({
    id: 'numberFormat',
    description: `a number format: ${formats.map(({ name }) => name).join(', ')}; with options as name:option=value,… or as a mapping`,
  });

type Place = 'notWeights' | 'notActivations';

/** Why weights, or activations, cannot be held in a format; undefined where they can. */
export function unfit(format: BoundFormat, place: Place): string | undefined {
  const why = format[place];
  return why && `${format.name} cannot hold ${place === 'notWeights' ? 'weights' : 'activations'}: ${why}`;
}

/** Makes it a mistake of whoever wrote a format that its place cannot be held in it. */
export const heldBy =
  (place: Place) =>
  (format: BoundFormat | null | undefined, ctx: z.core.$RefinementCtx): void => {
    const message = format ? unfit(format, place) : undefined;
    if (message !== undefined) ctx.addIssue({ code: 'custom', message });
  };

function refused(ctx: z.core.$RefinementCtx, message: string): never {
  ctx.addIssue({ code: 'custom', message });
  return z.NEVER;
}

const unknown = (name: string): string => {
  const names = formats.map((one) => one.name);
  const lower = name.toLowerCase();
  if (shortInt.test(lower)) return `no number format is called "${name}" (did you mean "${lower}"?)`;
  return `no number format is called "${name}"${didYouMean(name, names) || `; there are ${names.join(', ')}`}`;
};

const problemsOf = ({ name, options }: ListedFormat, given: unknown, { issues }: z.ZodError): string =>
  schemaProblems(options, given, issues)
    .map(({ path, message }) => `${name}: ${path.map(String).join('.')} ${message}`)
    .join('; ');

const keysOf = (text: string): string[] => (text.split(/:(.*)/s)[1]?.split(',') ?? []).map((part) => part.split('=')[0]!.trim()); // prettier-ignore

/** An option that a word gives more than once: the last would win without a sound. */
const repeated = (text: string): string | undefined => keysOf(text).find((key, i, all) => all.indexOf(key) < i);

const shortInt = /^int(\d+)$/;

/** `name:a=1,b=x` apart; numbers and truth values as such. */
function taken(text: string): { readonly name: string; readonly [option: string]: unknown } {
  const width = shortInt.exec(text.trim())?.[1];
  if (width !== undefined) return { name: 'int', bits: Number(width) };
  const [name = '', rest] = text.split(/:(.*)/s);
  const entries = (rest?.split(',') ?? []).map((part): [string, unknown] => {
    const [key = '', value = ''] = part.split(/=(.*)/s);
    return [key.trim(), valueOf(value.trim())];
  });
  return { ...Object.fromEntries(entries), name: name.trim() };
}

const valueOf = (text: string): unknown =>
  text === 'true' || text === 'false'
    ? text === 'true'
    : text !== '' && !Number.isNaN(Number(text))
      ? Number(text)
      : text;
